//! zcrxd in a container: the image is built and run by the commands of docs/install.md.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Step;
use super::document;
use super::shell::Shell;
use crate::harness::{artefacts, facts};

/// The document, as the host has it.
const DOCUMENT: &str = "/lab/install.md";

/// Names of the capabilities that the chart asks for, one a line.
const CAPABILITIES: &str = "/lab/capabilities";

/// The sources' directory, with what the image is made of.
const SOURCES: &str = "/root/zcrxd";

/// How long one command may take in an emulated machine.
const LIMIT: Duration = Duration::from_mins(5);

/// Probes without which zcrxd sees no queue of another process.
const PROBES: [&str; 2] = ["snapshot", "registration"];

pub(super) const RUN: Step = Step {
    name: "container",
    about: "podman builds the image and runs it by the commands of docs/install.md; with the chart's capabilities and no other, \
            zcrxd attaches its probes",
    limit: 900,
    run: || {
        let text = fs::read_to_string(DOCUMENT).with_context(|| format!("cannot read {DOCUMENT}"))?;
        let mut shell = Shell::start(SOURCES)?;
        let ran = follow(&mut shell, &document::blocks(&text)?);
        fs::write(artefacts().join("terminal.txt"), shell.text()).context("cannot keep the terminal")?;
        ran
    },
};

fn follow(shell: &mut Shell, blocks: &[Vec<&str>]) -> Result<()> {
    let mut ran = false;
    for line in blocks.iter().flatten() {
        match shell.line(line, LIMIT)? {
            (Some(0), printed) => {
                if line.starts_with("podman run") {
                    ran = true;
                    judge_capabilities(line)?;
                } else if line.starts_with("curl") {
                    for probe in PROBES {
                        ensure!(
                            printed.contains(&format!("probe=\"{probe}\"")),
                            "{probe} is not attached:\n{printed}"
                        );
                    }
                    facts::add("probes attached in a container", &printed.lines().count().to_string())?;
                }
            }
            (status, printed) => bail!("`{line}` ended with {status:?}:\n{printed}"),
        }
    }
    ensure!(ran, "{DOCUMENT} runs no container");
    Ok(())
}

/// The document's command and the kernel agree with the chart.
fn judge_capabilities(command: &str) -> Result<()> {
    let chart = fs::read_to_string(CAPABILITIES).with_context(|| format!("cannot read {CAPABILITIES}"))?;
    let chart: Vec<&str> = chart.lines().collect();
    let asked = format!("--cap-drop all --cap-add {} ", chart.join(","));
    ensure!(command.contains(&asked), "the chart asks for {chart:?}: {command}");
    let pid = podman(&["inspect", "--format", "{{.State.Pid}}", "zcrxd"])?;
    if pid.trim() == "0" {
        let (state, log) =
            (podman(&["inspect", "--format", "{{json .State}}", "zcrxd"])?, podman(&["logs", "zcrxd"])?);
        bail!("the container ended: {state}\n{log}");
    }
    let path = format!("/proc/{}/status", pid.trim());
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap_or_default();
    let bounding =
        u64::from_str_radix(bounding.trim(), 16).with_context(|| format!("no capabilities: {status}"))?;
    ensure!(
        bounding.count_ones() as usize == chart.len(),
        "the container may have {bounding:x}, the chart asks for {chart:?}"
    );
    Ok(())
}

/// Runs podman and returns what it printed.
fn podman(arguments: &[&str]) -> Result<String> {
    let output = Command::new("podman").args(arguments).output().context("cannot start podman")?;
    ensure!(output.status.success(), "podman {}: {output:?}", arguments.join(" "));
    Ok([output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect())
}
