//! Names of an interface, and what a running zcrxd does to it when its configuration or the interface changes.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::preparation::{as_it_comes, same, shown};
use crate::harness::daemon::Daemon;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, settled};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{eventually, program, work};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[NAMES, RELOAD];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
const LIMIT: Duration = Duration::from_mins(1);
const BYTES: u64 = 4 << 20;

/// One interface, whatever it is called.
const NAMES: Scenario = Scenario {
    name: "nic-names",
    about: "an alternative name, also one of 16 and more characters, is the same interface; renamed under zcrxd, the queue \
            goes on: one queue, no connection misplaced, nothing left behind",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const LONG: &str = "a-name-of-more-than-16-characters";
        let nic = as_it_comes()?;
        nic.rx.run("ip", &["link", "property", "add", "dev", nic::RX, "altname", "lan"])?;
        nic.rx.run("ip", &["link", "property", "add", "dev", nic::RX, "altname", LONG])?;
        let original = shown(&nic)?;
        twice_is_refused(&nic)?;
        let listen = format!("{}:7777", nic::RX_ADDRESS);
        let arguments =
            ["--interface", LONG, "--queue", "1", "--prepare", "--backend", "device", "--listen", &listen];
        let mut daemon = Daemon::start(&nic.rx, &[&arguments[..], &["--sink", "verify"]].concat())?;
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;
        one_queue(&daemon)?;

        nic.rx.run("ip", &["link", "set", nic::RX, "name", "zcnrenamed"])?;
        // Longer than the daemon's look after its interface.
        std::thread::sleep(Duration::from_secs(3));
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", 2 * BYTES)?;
        let registrations = metrics.count("zcrxd_receiver_registrations_total")?;
        ensure!(registrations == 1, "the rename had the queue registered {registrations} times");
        let misplaced = metrics.count("zcrxd_receiver_misplaced_connections_total")?;
        ensure!(misplaced == 0, "{misplaced} connections count as misplaced after the rename");
        one_queue(&daemon)?;
        daemon.stop()?;
        nic.rx.run("ip", &["link", "set", "zcnrenamed", "name", nic::RX])?;
        same("after the rename", &original, &shown(&nic)?)
    },
};

/// Two entries for one queue, one by an alternative name.
fn twice_is_refused(nic: &Nic) -> Result<()> {
    let path = configuration(&[(nic::RX, 1, 7001), ("lan", 1, 7002)])?;
    let mut command = nic.rx.command(program("zcrxd"));
    let output = command.arg("check-config").arg(&path).output().context("cannot run zcrxd")?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(2), "two entries for one queue pass: {said}");
    ensure!(said.contains("already taken"), "the reason is missing: {said}");
    Ok(())
}

/// The queue that zcrxd receives on and the one that it sees in the kernel are one.
fn one_queue(daemon: &Daemon<'_>) -> Result<()> {
    let text = daemon.metrics()?.text;
    let queues: Vec<&str> = text.lines().filter(|line| line.starts_with("zcrx_queue_info{")).collect();
    let label = format!("interface=\"{}\"", nic::RX);
    ensure!(
        queues.len() == 1 && queues[0].contains(&label),
        "one queue of {} is shown as {queues:?}",
        nic::RX
    );
    Ok(())
}

/// A new configuration, and the ends.
const RELOAD: Scenario = Scenario {
    name: "nic-reload",
    about: "SIGHUP moves a port to another queue although zcrxd's own rule is there, a refused configuration changes nothing, \
            an interface that no queue asks for is put back; two SIGTERMs at once leave no trace",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        let nic = as_it_comes()?;
        let original = shown(&nic)?;
        let path = configuration(&[(nic::RX, 1, 7001)])?;
        let config = path.to_str().context("paths are UTF-8 here")?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", config, "--no-probes"])?;
        steered(&nic, 7001, 1)?;

        // The same port on another queue.
        configuration(&[(nic::RX, 2, 7001)])?;
        reload(&mut daemon)?;
        steered(&nic, 7001, 2)?;
        let listen = format!("{}:7001", nic::RX_ADDRESS);
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;

        // What is refused changes nothing.
        let before = shown(&nic)?;
        configuration(&[(nic::RX, 99, 7002)])?;
        daemon.process().signal(libc::SIGHUP)?;
        daemon.until("the new configuration is refused", LIMIT, |metrics| {
            metrics.need("zcrxd_config_last_reload_successful").is_ok_and(|value| value == 0.0)
        })?;
        same("after a refused configuration", &before, &shown(&nic)?)?;

        // Without a queue that asks for it, it goes back.
        fs::write(&path, format!("[[queue]]\nlisten = [\"{}:7003\"]\nsink = \"discard\"\n", nic::RX_ADDRESS))
            .context("cannot write the configuration")?;
        reload(&mut daemon)?;
        eventually("the interface is put back", LIMIT, || Ok((shown(&nic)? == original).then_some(())))?;

        configuration(&[(nic::RX, 1, 7001)])?;
        reload(&mut daemon)?;
        steered(&nic, 7001, 1)?;
        // As GNU timeout does.
        daemon.process().signal(libc::SIGTERM)?;
        let log = daemon.stop()?;
        same(&format!("after two SIGTERMs: {log}"), &original, &shown(&nic)?)
    },
};

/// Writes the configuration file: queues that verify, prepared, each with a port.
fn configuration(queues: &[(&str, u32, u16)]) -> Result<PathBuf> {
    let mut text = String::new();
    for (interface, queue, port) in queues {
        write!(
            text,
            "[[queue]]\ninterface = \"{interface}\"\nqueue = {queue}\nprepare = true\nbackend = \"device\"\nlisten = \
             [\"{}:{port}\"]\nsink = \"verify\"\n",
            nic::RX_ADDRESS
        )?;
    }
    let path = work().join("zcrxd.toml");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn reload(daemon: &mut Daemon<'_>) -> Result<()> {
    let before = daemon.metrics()?.need("zcrxd_config_last_reload_success_timestamp_seconds").unwrap_or(0.0);
    // The timestamp has whole seconds on some kernels' clocks.
    std::thread::sleep(Duration::from_millis(1100));
    daemon.process().signal(libc::SIGHUP)?;
    daemon
        .until("the new configuration is in use", LIMIT, |metrics| {
            metrics.need("zcrxd_config_last_reload_success_timestamp_seconds").is_ok_and(|at| at > before)
        })
        .map(drop)
}

fn steered(nic: &Nic, port: u16, queue: u32) -> Result<()> {
    let rules = nic.ethtool(&["-n", nic::RX])?;
    let (to, action) = (format!("Dest port: {port} "), format!("Action: Direct to queue {queue}"));
    let found = rules.split("Filter:").any(|rule| rule.contains(&to) && rule.contains(&action));
    ensure!(found, "port {port} is not steered to queue {queue}: {rules}");
    Ok(())
}
