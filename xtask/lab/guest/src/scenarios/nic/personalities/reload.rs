//! A driver that is reloaded under zcrxd.

use anyhow::{Result, ensure};

use super::settings;
use crate::harness::daemon::Daemon;
use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, settled};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, area, eventually};

/// Payload of the transfers before and after, bytes.
const BYTES: u64 = 8 << 20;
/// Payload of the transfer while the driver is removed, bytes.
const AMID: u64 = 128 << 20;

/// zcrxd prepares an interface as its driver brings it up and receives; the module is reloaded amid a transfer, which goes on, and so
/// does zcrxd.
pub(super) fn amid_a_transfer(parameters: &str, queue: u32) -> Result<()> {
    let nic = Nic::unprepared(parameters)?;
    nic.receive_buffers(128 << 10, 1 << 20)?;
    let original = settings::shown(&nic)?;
    let (address, number, area) = (Nic::address(), queue.to_string(), area(4096));
    let arguments = ["--interface", nic::RX, "--queue", &number, "--prepare", "--listen", &address];
    let further = ["--sink", "verify", "--backend", "device", "--no-probes", "--area", &area];
    let mut daemon = Daemon::start(&nic.rx, &[arguments, further].concat())?;
    Traffic::start(&nic.tx, &address, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    expect(&settled(&mut daemon)?, "device", BYTES)?;
    let counter = format!("rx{queue}_niov_bytes");
    let written = nic.stat(&counter)?;
    ensure!(written >= BYTES, "the NIC wrote {written} bytes into the area");

    let before = daemon.metrics()?.count("zcrxd_receiver_registrations_total")?;
    let mut amid = Traffic::start(&nic.tx, &address, AMID, &[])?;
    eventually(
        "the transfer is under way",
        STEP_LIMIT,
        || Ok((nic.stat(&counter)? > written).then_some(())),
    )?;
    ensure!(amid.running()?, "the transfer was over before the driver was removed: this shows nothing");
    nic::unload(STEP_LIMIT)?;
    nic.connect(parameters)?;
    daemon.until("the queue is registered on the new driver", TRANSFER_LIMIT, |metrics| {
        metrics.count("zcrxd_receiver_registrations_total").is_ok_and(|count| count > before)
    })?;
    let (keys, _) = settings::without_keys(&settings::shown(&nic)?);
    // The connection outlives the queue, and goes on on the next one.
    amid.finish(TRANSFER_LIMIT)?;
    received(&settled(&mut daemon)?, BYTES + AMID)?;
    let written = nic.stat(&counter)?;
    Traffic::start(&nic.tx, &address, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    received(&settled(&mut daemon)?, 2 * BYTES + AMID)?;
    let after = nic.stat(&counter)?.wrapping_sub(written);
    ensure!(after >= BYTES, "after the reload the NIC wrote {after} of {BYTES} bytes into the area");
    daemon.stop()?;
    let (keys_after, after) = settings::without_keys(&settings::shown(&nic)?);
    settings::same("keys after the run", &keys, &keys_after)?;
    settings::same("after the run", &settings::without_keys(&original).1, &after)
}

/// Checks that every byte of these was verified and none lost, and that each buffer came back or went with its queue.
fn received(metrics: &Metrics, bytes: u64) -> Result<()> {
    let count = |name: &str| metrics.count(&format!("zcrxd_receiver_{name}_total"));
    let (verified, wrong, lost) =
        (count("verified_bytes")?, count("mismatched_bytes")?, count("lost_bytes")?);
    ensure!(
        (verified, wrong, lost) == (bytes, 0, 0),
        "of {bytes} bytes {verified} were verified, {wrong} are wrong, {lost} counted as lost"
    );
    let (delivered, returned, reclaimed) =
        (count("delivered_buffers")?, count("returned_buffers")?, count("reclaimed_buffers")?);
    println!("{delivered} buffers were delivered, {returned} returned, {reclaimed} lost with their queue");
    ensure!(
        delivered == returned + reclaimed,
        "{delivered} buffers were delivered, {returned} returned, {reclaimed} lost with their queue"
    );
    Ok(())
}
