//! `zcrxd check`, held against what the lab did to the host.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::features;
use crate::harness::features::Place;
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Nic};
use crate::harness::scenario::Scenario;
use crate::harness::{facts, output, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[HOST, INTERFACE];

/// The kernel, whichever it is.
const HOST: Scenario = Scenario {
    name: "host-checked",
    about: "what `zcrxd check` says of this kernel is what the kernel says itself, and its exit status follows",
    needs: &[],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let (status, report) = check(Command::new(program("zcrxd")).arg("check"))?;
        let zcrx = features::needs(Place::Guest).remove(&Need::Zcrx).flatten().is_none();
        ensure!((verdict(&report, "zcrx") == "pass") == zcrx, "zcrx is {zcrx}, and it says {report:#}");
        let btf = fs::exists("/sys/kernel/btf/vmlinux").context("cannot look for BTF")?;
        ensure!((verdict(&report, "btf") == "pass") == btf, "BTF is {btf}, and it says {report:#}");
        let failed = report["summary"]["fail"].as_u64().context("no summary")?;
        ensure!(status == i32::from(failed > 0), "{failed} failures and exit status {status}");
        let probes = output(Command::new(program("zcrxd")).args(["probes", "--format", "json"]))?;
        let probes: Vec<Value> = serde_json::from_str(&probes).context("`zcrxd probes` printed no list")?;
        for probe in &probes {
            let name = probe["name"].as_str().context("a probe without a name")?;
            let passed = verdict(&report, name) == "pass";
            ensure!(passed != probe["attached"].is_null(), "probe {name}: {probe} and {report:#}");
        }
        let summary = &report["summary"];
        let counts = ["pass", "warn", "fail"].map(|word| format!("{} {word}", summary[word]));
        facts::add("zcrxd check", &counts.join(", "))
    },
};

/// An interface, as it is spoiled and remedied.
const INTERFACE: Scenario = Scenario {
    name: "interface-checked",
    about: "`zcrxd check --interface` fails for what is spoiled, names who has a queue, and passes again when remedied",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let look = || {
            let mut command = nic.rx.command(program("zcrxd"));
            check(command.args(["check", "--interface", nic::RX]))
        };
        let failed = |report: &Value| -> Vec<String> {
            let findings = report["findings"].as_array().into_iter().flatten();
            let on = findings.filter(|one| one["interface"] == nic::RX && one["verdict"] == "fail");
            on.filter_map(|one| Some(one["name"].as_str()?.to_owned())).collect()
        };
        let (_, report) = look()?;
        ensure!(failed(&report).is_empty(), "it is ready, and it says {report:#}");
        nic.header_split(false, 0)?;
        let (status, report) = look()?;
        ensure!(status == 1 && failed(&report) == ["header_split"], "header split is off: {report:#}");
        nic.header_split(true, 128)?;
        let (status, report) = look()?;
        ensure!(status == 1 && failed(&report) == ["hds_thresh"], "the threshold is 128: {report:#}");
        nic.header_split(true, 0)?;
        nic.rx.run("ip", &["link", "set", nic::RX, "down"])?;
        let (status, report) = look()?;
        ensure!(status == 1 && failed(&report).iter().any(|name| name == "up"), "it is down: {report:#}");
        nic.rx.run("ip", &["link", "set", nic::RX, "up"])?;

        let queue = nic::QUEUE.to_string();
        let foreign = Foreign::start(&nic.rx, &["--interface", nic::RX, "--queue", &queue])?;
        let (_, report) = look()?;
        let owners = found(&report, "owners");
        ensure!(owners.starts_with(&format!("queue {queue}: a zcrx queue of faulty-app (pid ")), "{owners}");
        foreign.quit()
    },
};

/// Its exit status, and what it prints.
fn check(command: &mut Command) -> Result<(i32, Value)> {
    let output = command.args(["--format", "json"]).output().context("cannot run zcrxd")?;
    let status = output.status.code().context("zcrxd was killed")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {said}"))?;
    Ok((status, report))
}

fn finding<'r>(report: &'r Value, name: &str) -> Option<&'r Value> {
    report["findings"].as_array()?.iter().find(|finding| finding["name"] == name)
}

fn verdict<'r>(report: &'r Value, name: &str) -> &'r str {
    finding(report, name).and_then(|finding| finding["verdict"].as_str()).unwrap_or("missing")
}

fn found<'r>(report: &'r Value, name: &str) -> &'r str {
    finding(report, name).and_then(|finding| finding["found"].as_str()).unwrap_or("missing")
}
