//! NIC drivers of the kernel's own, on emulated devices: what every driver has to do, and what differs between them.

use std::time::Duration;

use anyhow::{Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::diagnosis::{named_in_the_end, watching};
use crate::harness::failures::agree;
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, on_device, settled};
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, facts};

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[TRAFFIC, PREPARES, RECOVERY];

/// TCP at several packet sizes.
const TRAFFIC: Scenario = Scenario {
    name: "driver-traffic",
    about: "with packets of 1500, 4000 and 8896 bytes, sent with and without segmentation by the NIC, every byte arrives in \
            the area",
    needs: NEEDS,
    proves: &[],
    limit: 500,
    default: false,
    run: || {
        const BYTES: u64 = 8 << 20;
        let nic = Nic::pair()?;
        nic.patient_sender()?;
        for (mtu, segmentation) in [(1500, "on"), (4000, "on"), (8896, "on"), (8896, "off")] {
            nic.set_mtu(mtu)?;
            nic.tx.run("ethtool", &["-K", nic::TX, "tso", segmentation])?;
            let before = nic.stat("rx1_niov_bytes")?;
            let mut daemon = on_device(&nic, &["--no-probes"])?;
            Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
            let metrics = settled(&mut daemon)?;
            expect(&metrics, "device", BYTES)?;
            let copied = metrics.sum("zcrxd_receiver_copied_bytes_total").unwrap_or(0.0);
            let written = nic.stat("rx1_niov_bytes")?.wrapping_sub(before);
            println!(
                "MTU {mtu}, segmentation {segmentation}: {written} bytes written to buffers, {copied} copied"
            );
            ensure!(copied == 0.0, "{copied} bytes were copied at MTU {mtu}");
            ensure!(written >= BYTES, "the NIC wrote {written} bytes into buffers at MTU {mtu}");
            daemon.stop()?;
        }
        Ok(())
    },
};

/// zcrxd prepares the interface itself, on a driver with its default settings.
const PREPARES: Scenario = Scenario {
    name: "driver-prepares",
    about: "on an interface as its driver brings it up, zcrxd run with prepare = true receives 64 MiB without a copy, and \
            leaves the settings as they were",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const BYTES: u64 = 64 << 20;
        let nic = Nic::unprepared("")?;
        nic.patient_sender()?;
        nic.receive_buffers(128 << 10, 1 << 20)?;
        let original = settings(&nic)?;
        let mut daemon = on_device(&nic, &["--prepare", "--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        expect(&settled(&mut daemon)?, "device", BYTES)?;
        let written = nic.stat("rx1_niov_bytes")?;
        ensure!(written >= BYTES, "the NIC wrote {written} bytes into the area");
        daemon.stop()?;
        let now = settings(&nic)?;
        let changed: Vec<_> = original.iter().zip(&now).filter(|(then, now)| then != now).collect();
        ensure!(changed.is_empty() && original.len() == now.len(), "left changed: {changed:?}");
        Ok(())
    },
};

/// A foreign queue starves, and recovers as its driver recovers.
const RECOVERY: Scenario = Scenario {
    name: "driver-recovers",
    about: "a foreign queue starved by a leak is found starving, first cause never_returned; once all buffers are returned, \
            without a flush, the driver's own retries (or, before Linux 7.2 on gve, a new ring) bring the traffic back, and \
            zcrxd has counted as many failures as the driver",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const BYTES: u64 = 16 << 20;
        let nic = Nic::pair()?;
        let mut daemon = watching(&nic.rx, &[])?;
        let mut foreign = leaking(&nic)?;
        let before = nic.stat("rx1_alloc_fail")?;
        let mut traffic = Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?;
        eventually("the driver finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > before).then_some(()))
        })?;
        daemon.until("the starvation shows", STEP_LIMIT, |metrics| {
            metrics.sum("zcrx_queue_starving") == Some(1.0)
        })?;
        named_in_the_end(&daemon, "never_returned")?;
        foreign.order("resume")?;
        let is_over = eventually("the transfer goes on by itself", Duration::from_secs(40), || {
            Ok((!traffic.running()?).then_some(()))
        });
        // The transfer is over, or the driver does not try again. fbnic's counter includes headers' buffers and packets' memory
        // (fbnic_get_queue_stats_rx), which the guest does not lack; gve's includes the latter.
        agree(&nic, &daemon, "rx1_alloc_fail", before)?;
        let by = if is_over.is_ok() {
            "the driver's own retry"
        } else {
            restart(&nic, &mut traffic)?;
            "a new ring"
        };
        traffic.finish(TRANSFER_LIMIT)?;
        facts::add("restart after starvation", by)?;
        foreign.settle_and_quit()?;
        daemon.stop().map(drop)
    },
};

/// Gives the queue new rings until the transfer is over. Buffers that were out during a restart come back by way of the old page pool,
/// after the new ring has looked for them.
pub(super) fn restart(nic: &Nic, traffic: &mut Traffic) -> Result<()> {
    for size in ["512", "1024", "512"] {
        nic.ethtool(&["-G", nic::RX, "rx", size])?;
        let over = eventually("the transfer is over", Duration::from_secs(15), || {
            Ok((!traffic.running()?).then_some(()))
        });
        if over.is_ok() {
            break;
        }
    }
    Ok(())
}

/// A prepared pair on this driver; skips the scenario on another one.
pub(super) fn pair_on(driver: Driver) -> Result<Nic> {
    only_on(driver)?;
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    Ok(nic)
}

/// Skips the scenario on another driver.
pub(super) fn only_on(driver: Driver) -> Result<()> {
    if Driver::of_this_guest()? != driver {
        return Err(Skip(format!("only {} does this", driver.name())).into());
    }
    Ok(())
}

/// A foreign program with 2048 buffers that returns none once it has received a megabyte.
pub(super) fn leaking(nic: &Nic) -> Result<Foreign> {
    let fault = ["--area-buffers", "2048", "--fault", "never-return", "--fault-after", "1000000"];
    Foreign::on_nic(nic, &fault)
}

/// What ethtool shows of the settings that zcrxd may change.
pub(super) fn settings(nic: &Nic) -> Result<Vec<String>> {
    let mut shown = Vec::new();
    for option in ["-g", "-l", "-x", "-n", "-k"] {
        shown.extend(nic.ethtool(&[option, nic::RX])?.lines().map(str::to_owned));
    }
    Ok(shown)
}
