//! Counts of a queue that several threads share: what the probes count adds up to what the threads received.

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::foreign_snapshot::figure;
use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::namespace::Namespace;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[IMPORTERS];

/// Threads that share the queue: one registers it, the others import it.
const RINGS: u16 = 4;
/// Where the first thread listens; the others do one port higher each.
const FIRST_PORT: u16 = 9800;
/// Sent to each thread.
const BYTES: u64 = 16 << 20;

const IMPORTERS: Scenario = Scenario {
    name: "importers-add-up",
    about: "four threads that share a queue by import receive at once, at full rate: bytes, copied bytes and copied buffers that zcrxd \
            counts are exactly the sums of the threads' own counts",
    needs: &[Need::Guest, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 400,
    default: false,
    run: || {
        let host = Namespace::create()?;
        let daemon = Daemon::start(&host, &[])?;
        if daemon.metrics()?.sum("zcrxd_snapshot_queues").is_none() {
            return Err(Skip("no snapshot can be taken here".to_owned()).into());
        }
        let (listen, rings) = (format!("127.0.0.1:{FIRST_PORT}"), RINGS.to_string());
        let arguments =
            ["--listen", &listen, "--rings", &rings, "--area-buffers", "4096", "--refill-entries", "4096"];
        let mut program = Foreign::start_sharing(&host, &arguments)?;
        let to = |ring: u16| format!("127.0.0.1:{}", FIRST_PORT + ring);
        let senders: Vec<_> =
            (0..RINGS).map(|ring| Traffic::start(&host, &to(ring), BYTES, &[])).collect::<Result<_>>()?;
        for sender in senders {
            sender.finish(TRANSFER_LIMIT)?;
        }
        let sent = u64::from(RINGS) * BYTES;
        let mut differences = Vec::new();
        let agreed = eventually("zcrxd and the program agree", STEP_LIMIT, || {
            let truth = program.truth()?;
            let of_rings = |name: &str| -> Result<u64> {
                let rings = truth["rings"].as_object().context("the program names no rings")?;
                rings.values().map(|ring| number(ring, name)).sum()
            };
            let received = of_rings("received_bytes")?;
            ensure!(of_rings("mismatched_bytes")? == 0, "the program received something else: {truth}");
            let metrics = daemon.metrics()?;
            let expected = [
                ("zcrx_queue_received_bytes_total", received),
                ("zcrx_queue_copied_bytes_total", received),
                ("zcrx_queue_copied_buffers_total", of_rings("completions")?),
            ];
            differences.clear();
            for (metric, expected) in expected {
                let shown = figure(&metrics, &truth, metric)?;
                if shown != expected {
                    differences.push(format!("{metric} is {shown} and should be {expected}"));
                }
            }
            // Each stream begins with a header of the test pattern.
            Ok((received >= sent && differences.is_empty()).then_some(()))
        });
        agreed.with_context(|| differences.join("; "))?;
        println!("{RINGS} threads, {sent} bytes: all counts add up");
        program.quit()?;
        daemon.stop().map(drop)
    },
};
