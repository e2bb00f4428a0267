//! zcrxd's own receive path on each of its backends.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::Scenario;
use crate::features;
use crate::init::Place;
use crate::lab::daemon::Daemon;
use crate::lab::kprobe::Kprobe;
use crate::lab::metrics::Metrics;
use crate::lab::namespace::Namespace;
use crate::lab::nic::{self, Nic};
use crate::lab::traffic::Traffic;

/// How long a transfer may take. An emulated machine on a busy host is slow.
pub(super) const TRANSFER: Duration = Duration::from_secs(150);

/// The claim that gives the project its name.
pub(super) const ZERO_COPY: Scenario = Scenario {
    name: "zero-copy",
    about: "64 MiB cross the wire into a zcrx queue: every byte verified, none copied, every buffer given back",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 64 << 20;
        let nic = Nic::pair()?;
        // What is sent twice is written to the area twice: on a slow machine TCP must not take slow for lost.
        nic.patient_sender()?;
        let copies = Kprobe::count("io_zcrx_copy_chunk");
        let mut daemon = on_device(&nic, &[])?;
        let niov_before = nic.stat("rx1_niov_bytes")?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        let received = metrics.count("zcrx_receive_bytes_total")?;
        let written = nic.stat("rx1_niov_bytes")? - niov_before;
        let resent = nic.segments_resent()?;
        ensure!(
            written == received || (resent > 0 && written > received),
            "the NIC wrote {written} bytes to buffers of the area, zcrxd received {received}, {resent} segments resent"
        );
        for ordinary in ["rx1_page_bytes", "rx1_unsplit_bytes"] {
            let bytes = nic.stat(ordinary)?;
            ensure!(bytes == 0, "{ordinary} is {bytes}: not all went into the area");
        }
        if let Some(copies) = copies {
            let hits = copies.hits()?;
            ensure!(hits == 0, "the kernel copied {hits} chunks");
        }
        daemon.stop().map(drop)
    },
};

/// Buffers are accounted for also when there are many ends.
pub(super) const CONNECTIONS: Scenario = Scenario {
    name: "zero-copy-connections",
    about: "16 connections at once on one zcrx queue, every byte verified, every buffer given back",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    limit: 400,
    default: false,
    run: || {
        const BYTES: u64 = 1 << 20;
        let nic = Nic::pair()?;
        let mut daemon = on_device(&nic, &["--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &["--connections", "16"])?.finish(TRANSFER)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", 16 * BYTES)?;
        daemon.stop().map(drop)
    },
};

/// zcrx without a device.
pub(super) const NODEV: Scenario = Scenario {
    name: "nodev",
    about: "16 MiB over the loopback through a queue without a device, every byte verified",
    needs: &[Need::Zcrx, Need::Nodev],
    limit: 120,
    default: true,
    run: || loopback("nodev"),
};

/// The backend that works everywhere.
pub(super) const COPY: Scenario = Scenario {
    name: "copy",
    about: "16 MiB over the loopback through the software interface queue, every byte verified",
    needs: &[],
    limit: 120,
    default: true,
    run: || loopback("copy"),
};

/// What is chosen when nobody chooses.
pub(super) const AUTO: Scenario = Scenario {
    name: "best-backend",
    about: "without an interface the best backend this kernel has is chosen, and the better ones are said to be refused",
    needs: &[],
    limit: 120,
    default: true,
    run: || {
        let nodev = features::needs(Place::Guest).get(&Need::Nodev).is_some_and(Option::is_none);
        let host = Namespace::create()?;
        let mut daemon =
            Daemon::start(&host, &["--listen", "127.0.0.1:9999", "--sink", "verify", "--no-probes"])?;
        Traffic::start(&host, "127.0.0.1:9999", 1 << 20, &[])?.finish(TRANSFER)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, if nodev { "nodev" } else { "copy" }, 1 << 20)?;
        let refused: Vec<_> = metrics.of("zcrx_receive_backend_refused_info").collect();
        let told =
            refused.iter().any(|sample| sample.labels.get("backend").is_some_and(|name| name == "nodev"));
        ensure!(told != nodev, "nodev works: {nodev}; said to be refused: {told}");
        daemon.stop().map(drop)
    },
};

/// A daemon that receives on the NIC's zcrx queue.
pub(super) fn on_device<'a>(nic: &'a Nic, further: &[&str]) -> Result<Daemon<'a>> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device", "--sink", "verify", "--area", "16MiB"]);
    arguments.extend(further);
    Daemon::start(&nic.rx, &arguments)
}

/// Waits until every connection is over and every buffer is back.
pub(super) fn settled(daemon: &mut Daemon<'_>) -> Result<Metrics> {
    let settled =
        daemon.until("all connections are closed and all buffers given back", TRANSFER, |metrics| {
            metrics.sum("zcrx_receive_connections") == Some(0.0)
                && metrics.sum("zcrx_receive_buffers_held") == Some(0.0)
                && metrics.sum("zcrx_receive_buffers_stashed").is_none_or(|stashed| stashed == 0.0)
        });
    if settled.is_err() {
        daemon.keep_connections()?;
    }
    settled
}

/// Checks what a queue with sink `verify` says after so many payload bytes.
pub(super) fn expect(metrics: &Metrics, backend: &str, bytes: u64) -> Result<()> {
    let used = metrics.label("zcrx_receive_info", "backend").context("no backend is told")?;
    ensure!(used == backend, "runs on {used} and not on {backend}");
    let verified = metrics.count("zcrx_receive_verified_bytes_total")?;
    ensure!(verified == bytes, "{verified} bytes were verified and not {bytes}");
    let mismatched = metrics.count("zcrx_receive_mismatched_bytes_total")?;
    ensure!(mismatched == 0, "{mismatched} bytes are not what was sent");
    let dispensed = metrics.count("zcrx_receive_buffers_dispensed_total")?;
    let returned = metrics.count("zcrx_receive_buffers_returned_total")?;
    ensure!(dispensed == returned, "{dispensed} buffers were dispensed, {returned} returned");
    ensure!(dispensed > 0, "no buffer was dispensed");
    Ok(())
}

fn loopback(backend: &str) -> Result<()> {
    const BYTES: u64 = 16 << 20;
    let host = Namespace::create()?;
    let arguments = ["--listen", "127.0.0.1:9999", "--backend", backend, "--sink", "verify", "--no-probes"];
    let mut daemon = Daemon::start(&host, &arguments)?;
    Traffic::start(&host, "127.0.0.1:9999", BYTES, &[])?.finish(TRANSFER)?;
    expect(&settled(&mut daemon)?, backend, BYTES)?;
    daemon.stop().map(drop)
}
