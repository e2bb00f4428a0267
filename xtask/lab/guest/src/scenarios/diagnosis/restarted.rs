//! Counts of another program's queue over the end of one zcrxd and the start of the next.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::Nic;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::service::Manager;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RESTARTED];

/// More than the area has room for.
const TOO_MUCH: u64 = 16 << 20;

/// Less than the area has room for.
const LITTLE: u64 = 1 << 20;

const RESTARTED: Scenario = Scenario {
    name: "counts-over-restart",
    about: "zcrxd is killed, and restarted, beside a queue that starves: bytes, failures and starvations go on, with what happened \
            while there was no zcrxd, as the NIC and the program count them; a starvation keeps its begin; a stop leaves no program",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 500,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut manager = Manager::new()?;
        let daemon = manager.start(&nic.rx, &[])?;
        let listen = Nic::address();
        let mut foreign = Foreign::on_nic(&nic, &["--area-buffers", "1024"])?;
        starve(&nic, &mut foreign)?;
        counted(&nic, &mut foreign, &daemon, 1)?;

        manager.kill(daemon)?;
        foreign.order("resume")?;
        Traffic::start(&nic.tx, &listen, LITTLE, &[])?.finish(TRANSFER_LIMIT)?;
        starve(&nic, &mut foreign)?;
        let starved = Instant::now();
        let mut daemon = manager.start(&nic.rx, &[])?;
        let log = daemon.process().stderr();
        ensure!(log.contains("counts of 1 queues go on"), "the counts begin again: {log}");
        counted(&nic, &mut foreign, &daemon, 2)?;
        lasting(&daemon, starved)?;

        manager.end_for_restart(daemon)?;
        let mut daemon = manager.start(&nic.rx, &[])?;
        counted(&nic, &mut foreign, &daemon, 2)?;
        lasting(&daemon, starved)?;

        foreign.order("resume")?;
        // An earlier sender may wait for a minute before it sends again.
        Traffic::start(&nic.tx, &listen, LITTLE, &[])?.finish(TRANSFER_LIMIT)?;
        daemon.until("the starvation ends", STEP_LIMIT, |metrics| {
            metrics.sum("zcrx_queue_starving") == Some(0.0)
        })?;
        // The driver's counter stands still now: both ends of its range are the same.
        counted(&nic, &mut foreign, &daemon, 2)?;
        ensure!(manager.keeps(PROGRAMS), "there is nothing in the store under the name {PROGRAMS}");
        manager.stop(daemon)?;
        ensure!(!manager.keeps(PROGRAMS), "programs go on after a stop");
        foreign.settle_and_quit()
    },
};

/// Name of the programs in the store.
const PROGRAMS: &str = "zcrxd-programs";

/// Has the program hold every buffer until the NIC finds none, then ends the traffic.
fn starve(nic: &Nic, foreign: &mut Foreign) -> Result<()> {
    foreign.order("hold")?;
    let before = nic.stat("rx1_alloc_fail")?;
    let traffic = Traffic::start(&nic.tx, &Nic::address(), TOO_MUCH, &[])?;
    eventually("the NIC finds no buffer", STEP_LIMIT, || {
        Ok((nic.stat("rx1_alloc_fail")? > before).then_some(()))
    })?;
    traffic.abandon()
}

/// Waits until zcrxd has the counts of the program and the NIC, and so many starvations. While the queue starves, the driver goes on
/// trying: then failures lie between two readings of its counter.
fn counted(nic: &Nic, foreign: &mut Foreign, daemon: &Daemon<'_>, starvations: u64) -> Result<()> {
    let mut last = String::new();
    let agreed = eventually("zcrxd, the program and the NIC agree", STEP_LIMIT, || {
        let (truth, least) = (foreign.truth()?, nic.stat("rx1_alloc_fail")?);
        let metrics = daemon.metrics()?;
        let most = nic.stat("rx1_alloc_fail")?;
        let shown = ["received_bytes", "consumed_refill_entries", "allocation_failures", "starvations"]
            .map(|figure| metrics.count(&format!("zcrx_queue_{figure}_total")));
        let [bytes, consumed, failures, begun] = shown;
        let (bytes, consumed, failures, begun) = (bytes?, consumed?, failures?, begun?);
        last = format!(
            "{bytes} bytes, {consumed} entries, {failures} failures, {begun} starvations; the NIC counts {least} to {most}; {truth}"
        );
        let agree = bytes == number(&truth, "received_bytes")?
            && consumed == number(&truth, "refill_head")?
            && (least..=most).contains(&failures)
            && begun == starvations;
        Ok(agree.then_some(()))
    });
    agreed.with_context(|| last)
}

/// The starvation lasts at least since then.
fn lasting(daemon: &Daemon<'_>, since: Instant) -> Result<()> {
    // Before the scrape: its sample is not older than the interval between two samples.
    let least = since.elapsed().saturating_sub(INTERVAL).as_secs_f64();
    let said = daemon.metrics()?.sum("zcrx_queue_starving_seconds").context("the queue does not starve")?;
    ensure!(said >= least, "starving for {said} s, and it began at least {least} s ago");
    Ok(())
}

/// Between two samples of zcrxd.
const INTERVAL: Duration = Duration::from_secs(1);
