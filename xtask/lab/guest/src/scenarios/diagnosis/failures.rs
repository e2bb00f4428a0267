//! Failed allocations of a starving queue: as many as the NIC counts, by whichever mechanism zcrxd counts them.

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::failures::missed_runs;
use crate::harness::foreign::Foreign;
use crate::harness::kprobe::Kprobe;
use crate::harness::nic::Nic;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[BY_MECHANISM];

/// Failures that the NIC is given time for in each run, at least.
const FAILURES: u64 = 10;

/// The provider's function: once per call is what the NIC and tracefs count.
const ALLOCATE: &str = "io_pp_zc_alloc_netmems";

/// One starvation per mechanism.
const BY_MECHANISM: Scenario = Scenario {
    name: "failures-by-mechanism",
    about: "the failed allocations that zcrxd counts through a starvation are those that the NIC counts, and its calls those \
            that tracefs counts, whether by fexit, by kprobe_multi or by kretprobe",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 500,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut foreign = Foreign::on_nic(&nic, &["--area-buffers", "1024"])?;
        for mechanism in ["fexit", "kprobe-multi", "kretprobe"] {
            starve(&nic, &mut foreign, mechanism).with_context(|| format!("by {mechanism}"))?;
        }
        foreign.quit()
    },
};

/// Runs the queue dry and lets it recover, watched by one mechanism.
fn starve(nic: &Nic, foreign: &mut Foreign, mechanism: &str) -> Result<()> {
    let mut daemon = Daemon::start(&nic.rx, &["--probe-mechanism", mechanism])?;
    let used = mechanism.replace('-', "_");
    let metrics = daemon.metrics()?;
    let attached = metrics.one("zcrxd_probe_info", &[("probe", "allocation"), ("mechanism", &used)])?;
    ensure!(attached.count() == 1, "the allocation probe is not attached: {attached:?}");
    // Nothing is called while nothing is sent.
    let calls = Kprobe::count(ALLOCATE).context("tracefs cannot count calls")?;
    let calls_before = metrics.count("zcrx_queue_allocations_total")?;
    let failed_before = nic.stat("rx1_alloc_fail")?;

    foreign.order("hold")?;
    let traffic = Traffic::start(&nic.tx, &Nic::address(), 16 << 20, &[])?;
    eventually("the NIC finds no buffer", STEP_LIMIT, || {
        Ok((nic.stat("rx1_alloc_fail")? >= failed_before + FAILURES).then_some(()))
    })?;
    daemon.until("the starvation shows", STEP_LIMIT, |metrics| {
        metrics.sum("zcrx_queue_starving") == Some(1.0)
    })?;
    foreign.order("resume")?;
    traffic.finish(TRANSFER_LIMIT)?;

    // zcrxd's counters are read between two equal readings of the other witnesses.
    let (failed, called, metrics) = eventually("everything stands still", STEP_LIMIT, || {
        let others = || Ok::<_, anyhow::Error>((nic.stat("rx1_alloc_fail")?, calls.hits()?));
        let before = others()?;
        let metrics = daemon.metrics()?;
        let after = others()?;
        Ok((before == after).then_some((after.0 - failed_before, after.1, metrics)))
    })?;
    let counted = metrics.count("zcrx_queue_allocation_failures_total")?;
    let calls_counted = metrics.count("zcrx_queue_allocations_total")? - calls_before;
    let lost = metrics.count("zcrxd_probe_lost_events_total")?;
    println!(
        "{mechanism}: {counted} of {calls_counted} calls failed; the NIC: {failed}, tracefs: {called}; lost {lost}"
    );
    let missed = if mechanism == "fexit" { 0 } else { missed_runs(&metrics) };
    ensure!(
        counted <= failed && failed - counted <= missed,
        "the NIC failed {failed} times to get a buffer, zcrxd counted {counted} and reports {missed} missed runs"
    );
    ensure!(
        calls_counted <= called && called - calls_counted <= missed,
        "tracefs counted {called} calls, zcrxd {calls_counted} and reports {missed} missed runs"
    );
    ensure!(lost == 0, "{lost} events were lost");
    daemon.stop().map(drop)
}
