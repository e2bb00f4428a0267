//! Failed allocations of a starving queue, as its driver and zcrxd count them.

use anyhow::{Result, ensure};

use super::daemon::Daemon;
use super::metrics::Metrics;
use super::nic::Nic;
use super::{STEP_LIMIT, eventually};

/// What zcrxd counts.
pub(crate) const FAILURES: &str = "zcrx_queue_allocation_failures_total";

/// Waits until the driver's counter stands still, and checks that zcrxd counted each failure since that counter was at `before`.
///
/// zcrxd must have watched from then on, and only one queue may have failed.
pub(crate) fn agree(nic: &Nic, daemon: &Daemon<'_>, counter: &str, before: u64) -> Result<()> {
    // zcrxd's counter is read between two equal readings of the driver's.
    let (failed, metrics) = eventually("the driver's counter stands still", STEP_LIMIT, || {
        let first = nic.stat(counter)?;
        let metrics = daemon.metrics()?;
        let second = nic.stat(counter)?;
        Ok((first == second).then_some((second - before, metrics)))
    })?;
    let (counted, missed) = (metrics.count(FAILURES)?, missed_runs(&metrics));
    println!("{counter}: {failed}; zcrxd counted {counted} failures and reports {missed} missed runs");
    ensure!(failed > 0, "{counter} did not move, so this shows nothing");
    ensure!(
        counted <= failed && failed - counted <= missed,
        "the driver failed {failed} times ({counter}), zcrxd counted {counted} and reports {missed} missed runs"
    );
    Ok(())
}

/// Runs of the allocation probe that the kernel skipped, as zcrxd reports them: a probe that interrupts another one on its processor
/// does not run. Drivers that retry by a timer cause that; fexit programs are not affected.
pub(crate) fn missed_runs(metrics: &Metrics) -> u64 {
    let missed = metrics.of("zcrxd_probe_program_missed_runs_total");
    let of_allocation = missed.filter(|sample| {
        sample.labels.get("program").is_some_and(|program| program.starts_with("allocation_k"))
    });
    of_allocation.map(|sample| sample.value as u64).sum()
}
