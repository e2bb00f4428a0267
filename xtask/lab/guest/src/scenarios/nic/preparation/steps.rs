//! What those scenarios do with an interface: commands of zcrxd and of ethtool, also killed halfway.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::{STEP_LIMIT, program, work};

/// What the interface is prepared for.
pub(super) const WANTED: [&str; 6] = ["--queues", "1,3", "--flow", "tcp4:7777", "--flow", "tcp6:7777"];

/// Header split and its threshold, without zcrxd's or ethtool's help.
pub(super) fn header_split(nic: &Nic) -> Result<(u8, u32)> {
    let (split, threshold) = nic.receiving().reported_header_split()?;
    Ok((split.context("no header split in the answer")?, threshold.context("no threshold in the answer")?))
}

/// Runs one command of a plan as a person would.
pub(super) fn by_ethtool(nic: &Nic, command: &str) -> Result<()> {
    let mut words = command.split_whitespace();
    ensure!(words.next() == Some("ethtool"), "{command} is no ethtool command");
    let arguments: Vec<&str> = words.collect();
    if arguments.contains(&"tcp-data-split") {
        // Older ethtools do not know the word.
        ensure!(command.contains("tcp-data-split on"), "{command} is no header split");
        return nic.header_split(true, 0);
    }
    nic.ethtool(&arguments).map(drop)
}

pub(in crate::scenarios::nic) fn zcrxd(nic: &Nic, command: &str) -> Command {
    let mut zcrxd = nic.rx.command(program("zcrxd"));
    zcrxd.args(["nic", command]);
    if command != "show" {
        zcrxd.arg("--state-dir").arg(work().join("state"));
    }
    zcrxd
}

pub(in crate::scenarios::nic) fn apply(nic: &Nic) -> Command {
    let mut command = zcrxd(nic, "apply");
    command.arg(nic::RX).args(WANTED);
    command
}

pub(in crate::scenarios::nic) fn restore(nic: &Nic) -> Command {
    let mut command = zcrxd(nic, "restore");
    command.arg(nic::RX);
    command
}

/// The commands of the plan; none if nothing is to be changed.
pub(super) fn planned(nic: &Nic) -> Result<Vec<String>> {
    let mut command = zcrxd(nic, "plan");
    let output = run_by(command.arg(nic::RX).args(WANTED).args(["--format", "json"]))?;
    let plan: Value = serde_json::from_slice(&output.stdout).with_context(|| text(&output))?;
    let commands = plan["commands"].as_array().context("a plan has commands")?;
    let commands: Vec<String> = commands.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    ensure!(output.status.code() == Some(i32::from(!commands.is_empty())), "plan: {}", text(&output));
    Ok(commands)
}

pub(in crate::scenarios::nic) fn run(mut command: Command) -> Result<Output> {
    run_by(&mut command)
}

pub(super) fn run_by(command: &mut Command) -> Result<Output> {
    command.output().context("cannot run zcrxd")
}

/// Runs it to its good end; what it said.
pub(in crate::scenarios::nic) fn done(command: Command) -> Result<String> {
    let output = run(command)?;
    let said = text(&output);
    ensure!(output.status.success(), "zcrxd ended with {}: {said}", output.status);
    Ok(said)
}

pub(in crate::scenarios::nic) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Kills it as soon as it has written its journal so many times; whether it was still running.
///
/// It writes before and after each step. Progress is what decides when to strike, and not time, which is another on
/// each machine.
pub(in crate::scenarios::nic) fn killed(command: &mut Command, writes: u32) -> Result<bool> {
    let mut seen = journal()?;
    let mut process = Process::start("zcrxd", command)?;
    let mut left = writes;
    while left > 0 && process.ended()?.is_none() {
        let now = journal()?;
        if now != seen {
            (seen, left) = (now, left - 1);
        }
    }
    if process.ended()?.is_none() {
        process.signal(libc::SIGKILL)?;
    }
    let status = process.wait(STEP_LIMIT)?;
    match (status.signal(), status.success()) {
        (Some(libc::SIGKILL), _) => Ok(true),
        (None, true) => Ok(false),
        _ => bail!("zcrxd ended with {status}: {}", process.stderr()),
    }
}

/// Which writing of the journal is there: each is a file of its own, renamed into place.
pub(super) fn journal() -> Result<Option<(u64, i64)>> {
    // It may be gone or replaced between the two reads.
    let found = journal_file()?.and_then(|path| fs::metadata(path).ok());
    Ok(found.map(|found| (found.ino(), found.mtime_nsec())))
}

fn journal_file() -> Result<Option<PathBuf>> {
    let directory = work().join("state");
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(None) };
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {}", directory.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Whether the journal shows that zcrxd died after it asked for header split and before it wrote down what had been configured: the
/// kernel does not say that any more (docs/decisions/0055).
pub(in crate::scenarios::nic) fn split_is_lost() -> Result<bool> {
    let Some(path) = journal_file()? else { return Ok(false) };
    let journal: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let learned = &journal["original"]["rings"]["known"]["split_configured"];
    Ok(journal["begun"].get("header_split").is_some() && learned.is_null())
}
