//! Many buffers, many connections: nothing is lost and nobody waits for somebody else.

use std::time::Duration;

use anyhow::{Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::Scenario;
use super::receive::{TRANSFER, expect, on_device, settled};
use crate::lab::daemon::Daemon;
use crate::lab::nic::Nic;
use crate::lab::traffic::Traffic;

/// How long anything may take to come about.
const TURN: Duration = Duration::from_mins(1);

/// The ring that is always full.
pub(super) const SMALL_REFILL_RING: Scenario = Scenario {
    name: "small-refill-ring",
    about: "a refill ring of 64 entries, 4096 buffers and a buffer for each small frame: what does not fit is stashed, no \
            buffer is lost (starved-by-dropped-returns shows an application that drops it)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 24 << 20;
        let nic = Nic::pair()?;
        nic.small_frames()?;
        let mut daemon = on_device(&nic, &["--refill-entries", "64"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        ensure!(metrics.count("zcrx_receive_area_buffers")? == 4096, "the area has another size");
        ensure!(
            metrics.count("zcrx_receive_refill_ring_capacity")? == 64,
            "the refill ring has another size"
        );
        let dispensed = metrics.count("zcrx_receive_buffers_dispensed_total")?;
        ensure!(dispensed > 2 * 4096, "{dispensed} buffers: not enough to go round twice");
        let full = metrics.count("zcrx_receive_refill_ring_full_total")?;
        ensure!(full > 0, "the refill ring was never full: this shows nothing");
        kernel_agrees(&mut daemon)?;
        daemon.stop().map(drop)
    },
};

/// Waits until the kernel counts no reference of user space but those in the refill rings: its own word that every buffer
/// came back.
fn kernel_agrees(daemon: &mut Daemon<'_>) -> Result<()> {
    if daemon.metrics()?.sum("zcrx_ifq_user_references").is_none() {
        return Err(super::Skip("the snapshot probe cannot count references here".to_owned()).into());
    }
    let agrees = |metrics: &crate::lab::metrics::Metrics| {
        metrics.sum("zcrx_ifq_user_references") == metrics.sum("zcrx_ifq_refill_ring_pending")
    };
    daemon.until("the kernel counts no buffer that is with user space", TURN, agrees).map(drop)
}
