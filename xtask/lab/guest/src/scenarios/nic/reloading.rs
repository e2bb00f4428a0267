//! Names of an interface, and what a running zcrxd does to it when its configuration or the interface changes.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::preparation::{apply, as_it_comes, done, restore, run, same, shown, text};
use crate::harness::daemon::Daemon;
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::receiver::{TRANSFER_LIMIT, expect, settled};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{eventually, program, work};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[NAMES, MOVED, RELOAD];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
const LIMIT: Duration = Duration::from_mins(1);
const BYTES: u64 = 4 << 20;
/// What is sent while the interface gets another name, bytes.
const AMID: u64 = 128 << 20;

/// One interface, whatever it is called.
const NAMES: Scenario = Scenario {
    name: "nic-names",
    about: "an alternative name, also one of 16 and more characters, is the same interface; renamed amid a transfer, the queue \
            goes on: every byte arrives, one queue, no connection misplaced, nothing left behind",
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

        let mut traffic = Traffic::start(&nic.tx, &listen, AMID, &[])?;
        let verified = "zcrxd_receiver_verified_bytes_total";
        daemon.until("the transfer is under way", LIMIT, |metrics| {
            metrics.count(verified).is_ok_and(|bytes| bytes > BYTES)
        })?;
        nic.rx.run("ip", &["link", "set", nic::RX, "name", "zcnrenamed"])?;
        ensure!(traffic.running()?, "the transfer was over before the rename: this shows nothing");
        traffic.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES + AMID)?;
        // Longer than the daemon's look after its interface.
        std::thread::sleep(Duration::from_secs(3));
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", 2 * BYTES + AMID)?;
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

/// A prepared interface in another network namespace.
const MOVED: Scenario = Scenario {
    name: "nic-moved",
    about: "a prepared interface that is moved to another network namespace keeps its journal: `zcrxd nic restore` fails and says \
            where it is, and leaves no setting changed once it is back",
    needs: NEEDS,
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        let nic = as_it_comes()?;
        let original = shown(&nic)?;
        done(apply(&nic))?;
        let prepared = shown(&nic)?;
        ensure!(prepared != original, "nothing had to be changed: this shows nothing");
        let elsewhere = Namespace::create()?;
        // zcrxd finds namespaces by their names and processes.
        let mut sleep = elsewhere.command("/bin/busybox");
        let resident = Process::start("resident", sleep.args(["sleep", "1000"]))?;
        let place = format!("/proc/{}/ns/net", resident.id());

        nic.rx.run("ip", &["link", "set", nic::RX, "netns", &resident.id().to_string()])?;
        for _ in 0..2 {
            let output = run(restore(&nic))?;
            let said = text(&output);
            ensure!(output.status.code() == Some(3), "restore ended with {}: {said}", output.status);
            ensure!(said.contains(&place), "restore does not say that it is in {place}: {said}");
        }
        elsewhere.run("ip", &["link", "set", nic::RX, "netns", &nic.rx.path()])?;
        nic.rx.run("ip", &["link", "set", nic::RX, "up"])?;
        nic.receiving().wait_for_carrier()?;
        same("back home", &prepared, &shown(&nic)?)?;
        done(restore(&nic))?;
        same("after restore", &original, &shown(&nic)?)?;
        resident.kill()
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
            an interface that no queue asks for is put back; zcrxd on another queue after SIGKILL moves the rule that it \
            left; two SIGTERMs at once leave no trace",
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

        // The journal says that the rule which a killed zcrxd left is its own.
        daemon.kill()?;
        steered(&nic, 7001, 1)?;
        configuration(&[(nic::RX, 2, 7001)])?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", config, "--no-probes"])?;
        steered(&nic, 7001, 2)?;
        let rules = nic.ethtool(&["-n", nic::RX])?.matches("Dest port: 7001 ").count();
        ensure!(rules == 1, "{rules} rules steer port 7001");
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;
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
