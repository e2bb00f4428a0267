//! `zcrxd qualify`: its report, held against what the driver is known to do.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::drivers::settings;
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::scenario::Scenario;
use crate::harness::{STEP_LIMIT, artefacts, eventually, facts, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[PERSONALITIES, DRIVER, INTERRUPTED];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
/// Where the sending end waits.
const PEER: &str = "10.9.0.2:9991";

/// The ways of several drivers.
const PERSONALITIES: Scenario = Scenario {
    name: "qualify-personalities",
    about: "zcrxd qualify on the ways of bnxt, mlx5 and our own NIC reports zero copy, the counters that each of them moves while \
            starved, and how it restarts; it leaves no trace",
    needs: NEEDS,
    proves: &[],
    limit: 1200,
    default: false,
    run: || {
        let cases = [
            ("plain", "by_itself", "rx3_alloc_fail"),
            ("bnxt", "by_itself", "rx_total_oom_discards"),
            ("mlx5", "by_registration", "rx3_buff_alloc_err"),
        ];
        for (personality, restart, counter) in cases {
            let nic = Nic::unprepared(&format!("personality={personality} queues=8 channels=2"))?;
            qualified(&nic, "3", restart, counter).with_context(|| personality.to_owned())?;
            drop(nic);
            nic::remove(STEP_LIMIT)?;
        }
        Ok(())
    },
};

/// The guest's own driver.
const DRIVER: Scenario = Scenario {
    name: "qualify-driver",
    about: "zcrxd qualify on the guest's driver reports zero copy, a counter of failed allocations that moves while the queue \
            starves, and a restart; it leaves no trace",
    needs: NEEDS,
    proves: &[],
    limit: 900,
    default: false,
    run: || {
        let nic = Nic::unprepared("")?;
        let report = qualified(&nic, "1", "", "qstats rx-alloc-fail")?;
        facts::add("restart after starvation", &report["restart"].to_string())
    },
};

/// A signal in the middle.
const INTERRUPTED: Scenario = Scenario {
    name: "qualify-interrupted",
    about: "zcrxd qualify ended by SIGTERM while a queue is registered restores the interface and says what it did not run",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        let nic = Nic::unprepared("")?;
        let original = settings(&nic)?;
        let _peer = peer(&nic)?;
        let mut qualify = Process::start("qualify", &mut command(&nic, "1"))?;
        eventually("a queue is registered", STEP_LIMIT, || {
            let mut show = nic.rx.command(program("zcrxd"));
            let shown = show.args(["nic", "show", nic::RX]).output().context("cannot run zcrxd nic show")?;
            Ok(String::from_utf8_lossy(&shown.stdout).contains("zcrx").then_some(()))
        })?;
        qualify.signal(libc::SIGTERM)?;
        let status = qualify.wait(STEP_LIMIT)?;
        ensure!(status.code() == Some(1), "it ended with {status}: {}", qualify.stderr());
        unchanged(&original, &settings(&nic)?)
    },
};

/// Runs the battery, which must report that all is well, this restart (any if empty), and that this counter moved.
fn qualified(nic: &Nic, queue: &str, restart: &str, counter: &str) -> Result<Value> {
    let report = report(nic, queue)?;
    for test in [
        "prepare",
        "registration",
        "second_registration",
        "zero_copy",
        "small_packets",
        "header_split",
        "steering",
        "killed_owner",
        "interface_down",
        "soak",
        "restore",
    ] {
        ensure!(verdict(&report, test) == "pass", "{test} did not pass: {report:#}");
    }
    let found = match &report["restart"] {
        Value::String(word) => word.clone(),
        Value::Object(how) => how.keys().next().cloned().unwrap_or_default(),
        _ => bail!("no restart is reported: {report:#}"),
    };
    ensure!(restart.is_empty() || found == restart, "restart {found} and not {restart}: {report:#}");
    let moved = report["moved_counters"].as_array().context("no list of counters")?;
    ensure!(moved.iter().any(|moved| moved["name"] == counter), "{counter} is not listed: {report:#}");
    Ok(report)
}

/// Runs the battery, which must leave no trace. Returns its report.
pub(super) fn report(nic: &Nic, queue: &str) -> Result<Value> {
    let original = settings(nic)?;
    let mut peer = peer(nic)?;
    let output = command(nic, queue).output().context("cannot run zcrxd qualify")?;
    // The next one listens on the same port.
    peer.signal(libc::SIGKILL)?;
    peer.wait(STEP_LIMIT)?;
    let report = report_of(&output)?;
    fs::write(artefacts().join("qualify.json"), report.to_string()).context("cannot keep the report")?;
    unchanged(&original, &settings(nic)?)?;
    Ok(report)
}

fn peer(nic: &Nic) -> Result<Process> {
    let mut send = nic.tx.command(program("zcrxd"));
    let mut peer = Process::start("peer", send.args(["send", "--serve", PEER]))?;
    eventually("the sending end waits", STEP_LIMIT, || {
        peer.alive()?;
        Ok(peer.stdout().contains(PEER).then_some(()))
    })?;
    Ok(peer)
}

fn command(nic: &Nic, queue: &str) -> Command {
    let mut command = nic.rx.command(program("zcrxd"));
    let target = format!("{}:{queue}", nic::RX);
    command.args(["qualify", &target, "--peer", PEER, "--yes", "--format", "json"]);
    command.args(["--link-down", "--soak", "2s"]);
    command
}

fn report_of(output: &Output) -> Result<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {errors}"))
}

fn verdict<'r>(report: &'r Value, test: &str) -> &'r str {
    let tests = report["tests"].as_array().into_iter().flatten();
    let mut named = tests.filter(|found| found["name"] == test);
    named.next().and_then(|found| found["verdict"].as_str()).unwrap_or("missing")
}

fn unchanged(original: &[String], now: &[String]) -> Result<()> {
    let changed: Vec<_> = original.iter().zip(now).filter(|(then, now)| then != now).collect();
    ensure!(changed.is_empty() && original.len() == now.len(), "left changed: {changed:?}");
    Ok(())
}
