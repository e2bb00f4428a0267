//! zcrxd's receive path on each of its backends.

use anyhow::{Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::features;
use crate::harness::features::Place;
use crate::harness::namespace::Namespace;
use crate::harness::nic::Nic;
use crate::harness::receiver::{TRANSFER_LIMIT, expect, on_device, settled};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::traffic::Traffic;
use crate::harness::zero_copy::ZeroCopy;

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[COPY, NODEV, AUTO, ZERO_COPY, CONNECTIONS];

/// Zero copy on a hardware queue.
const ZERO_COPY: Scenario = Scenario {
    name: "zero-copy",
    about: "64 MiB cross the wire into a zcrx queue: every byte verified, none copied, every buffer returned",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 64 << 20;
        let nic = Nic::pair()?;
        let mut daemon = on_device(&nic, &[])?;
        // Counted only once zcrxd is ready: its self-check copies payload on a queue without a device.
        let zero_copy = ZeroCopy::watch(&nic)?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        zero_copy.verify(metrics.count("zcrxd_receiver_received_bytes_total")?)?;
        daemon.stop().map(drop)
    },
};

/// Accounting of buffers with many connections.
const CONNECTIONS: Scenario = Scenario {
    name: "zero-copy-connections",
    about: "16 connections at once on one zcrx queue, every byte verified, every buffer returned",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        const BYTES: u64 = 1 << 20;
        let nic = Nic::pair()?;
        let mut daemon = on_device(&nic, &["--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &["--connections", "16"])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", 16 * BYTES)?;
        daemon.stop().map(drop)
    },
};

/// zcrx without a device.
const NODEV: Scenario = Scenario {
    name: "nodev",
    about: "16 MiB over the loopback through a queue without a device, every byte verified",
    needs: &[Need::Zcrx, Need::Nodev],
    proves: &[Proof::Features(&["flush_rq", "nodev"])],
    limit: 120,
    default: true,
    run: || loopback("nodev"),
};

/// The backend that works everywhere.
const COPY: Scenario = Scenario {
    name: "copy",
    about: "16 MiB over the loopback through the software interface queue, every byte verified",
    needs: &[],
    proves: &[],
    limit: 120,
    default: true,
    run: || loopback("copy"),
};

/// The backend that `auto` selects.
const AUTO: Scenario = Scenario {
    name: "best-backend",
    about: "without an interface the best backend this kernel has is chosen, and the better ones are said to be refused",
    needs: &[],
    proves: &[Proof::Features(&["nodev"])],
    limit: 120,
    default: true,
    run: || {
        let nodev = features::needs(Place::Guest).get(&Need::Nodev).is_some_and(Option::is_none);
        let host = Namespace::create()?;
        let mut daemon =
            Daemon::start(&host, &["--listen", "127.0.0.1:9999", "--sink", "verify", "--no-probes"])?;
        Traffic::start(&host, "127.0.0.1:9999", 1 << 20, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, if nodev { "nodev" } else { "copy" }, 1 << 20)?;
        let refused: Vec<_> = metrics.of("zcrxd_receiver_backend_refused_info").collect();
        let reported =
            refused.iter().any(|sample| sample.labels.get("backend").is_some_and(|name| name == "nodev"));
        ensure!(reported != nodev, "nodev works: {nodev}; reported as refused: {reported}");
        daemon.stop().map(drop)
    },
};

fn loopback(backend: &str) -> Result<()> {
    const BYTES: u64 = 16 << 20;
    let host = Namespace::create()?;
    let arguments = ["--listen", "127.0.0.1:9999", "--backend", backend, "--sink", "verify", "--no-probes"];
    let mut daemon = Daemon::start(&host, &arguments)?;
    Traffic::start(&host, "127.0.0.1:9999", BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    expect(&settled(&mut daemon)?, backend, BYTES)?;
    daemon.stop().map(drop)
}
