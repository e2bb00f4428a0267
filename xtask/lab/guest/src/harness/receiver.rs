//! zcrxd's local receive queues: start one, wait until it is idle, check what it received.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::daemon::Daemon;
use super::metrics::{Metrics, Sample};
use super::nic::{self, Nic};
use super::scenario::Skip;
use super::{STEP_LIMIT, area};

/// Longest time of a transfer. An emulated machine on a busy host is slow.
pub(crate) const TRANSFER_LIMIT: Duration = Duration::from_secs(150);

/// Starts a daemon that receives on the NIC's zcrx queue.
pub(crate) fn on_device<'a>(nic: &'a Nic, further: &[&str]) -> Result<Daemon<'a>> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let area = area(4096);
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device", "--sink", "verify", "--area", &area]);
    arguments.extend(further);
    Daemon::start(&nic.rx, &arguments)
}

/// Waits until every connection is closed and every buffer returned.
pub(crate) fn settled(daemon: &mut Daemon<'_>) -> Result<Metrics> {
    let settled =
        daemon.until("all connections are closed and all buffers returned", TRANSFER_LIMIT, |metrics| {
            metrics.sum("zcrxd_receiver_connections") == Some(0.0)
                && metrics.sum("zcrxd_receiver_held_buffers") == Some(0.0)
                && metrics.sum("zcrxd_receiver_stashed_buffers").is_none_or(|stashed| stashed == 0.0)
        });
    if settled.is_err() {
        daemon.keep_connections()?;
    }
    settled
}

/// Checks the metrics of a queue with sink `verify` after this number of payload bytes.
pub(crate) fn expect(metrics: &Metrics, backend: &str, bytes: u64) -> Result<()> {
    let used =
        metrics.label("zcrxd_receiver_info", "backend").context("zcrxd_receiver_info has no backend")?;
    ensure!(used == backend, "runs on {used} and not on {backend}");
    let verified = metrics.count("zcrxd_receiver_verified_bytes_total")?;
    ensure!(verified == bytes, "{verified} bytes were verified and not {bytes}");
    let mismatched = metrics.count("zcrxd_receiver_mismatched_bytes_total")?;
    ensure!(mismatched == 0, "{mismatched} bytes are not what was sent");
    let delivered = metrics.count("zcrxd_receiver_delivered_buffers_total")?;
    let returned = metrics.count("zcrxd_receiver_returned_buffers_total")?;
    ensure!(delivered == returned, "{delivered} buffers were delivered, {returned} returned");
    ensure!(delivered > 0, "no buffer was delivered");
    Ok(())
}

/// Waits until the kernel counts no reference of user space except those in the refill rings: every buffer is returned.
pub(crate) fn kernel_agrees(daemon: &mut Daemon<'_>) -> Result<()> {
    if daemon.metrics()?.sum("zcrx_queue_user_references").is_none() {
        return Err(Skip("the snapshot probe cannot count references here".to_owned()).into());
    }
    let agrees = |metrics: &Metrics| {
        metrics.sum("zcrx_queue_user_references") == metrics.sum("zcrx_queue_refill_ring_pending_entries")
    };
    daemon.until("the kernel counts no buffer that is with user space", STEP_LIMIT, agrees).map(drop)
}

/// Number of receives of zcrxd that ended with this errno.
pub(crate) fn errors(metrics: &Metrics, errno: &str) -> u64 {
    metrics
        .of("zcrxd_receiver_receive_errors_total")
        .filter(|sample| sample.has("errno", errno))
        .map(Sample::count)
        .sum()
}
