//! Many buffers, many connections: nothing is lost, and no connection waits for another.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::crowd::{Crowd, Sink};
use crate::harness::daemon::Daemon;
use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, kernel_agrees, on_device, settled};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, area, page_bytes, work};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[SMALL_REFILL_RING, TWO_HUNDRED, MISPLACED];

/// A refill ring that is always full.
const SMALL_REFILL_RING: Scenario = Scenario {
    name: "small-refill-ring",
    about: "a refill ring of 8 entries, 4096 buffers and a buffer for each small frame: what does not fit is flushed or \
            stashed, no buffer is lost (starved-by-dropped-returns shows an application that drops it)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 24 << 20;
        let nic = Nic::pair()?;
        nic.small_frames()?;
        let mut daemon = on_device(&nic, &["--refill-entries", "8"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        let buffers = metrics.count("zcrxd_receiver_area_buffers")?;
        ensure!(buffers == 4096, "the area has {buffers} buffers");
        ensure!(
            metrics.count("zcrxd_receiver_refill_ring_capacity_entries")? == 8,
            "the refill ring has another size"
        );
        let delivered = metrics.count("zcrxd_receiver_delivered_buffers_total")?;
        ensure!(delivered > 2 * buffers, "{delivered} buffers: not enough to go round twice");
        let full = metrics.count("zcrxd_receiver_refill_ring_full_total")?;
        // zcrxd flushes the ring where the kernel supports that (Linux 6.19), and stashes entries otherwise.
        let flushed = metrics.count("zcrx_queue_flushed_refill_entries_total").unwrap_or(0);
        ensure!(full > 0 || flushed > delivered / 2, "the refill ring was never full: this shows nothing");
        kernel_agrees(&mut daemon)?;
        daemon.stop().map(drop)
    },
};

/// Buffers of each queue's area.
const BUFFERS: u32 = 4096;

/// Checks that sockets can take half of their queue's area at most, however little their sinks read: what waits in them leaves the NIC
/// the other half.
fn within_budget(metrics: &Metrics) -> Result<()> {
    let half = f64::from(BUFFERS) / 2.0 * page_bytes() as f64;
    for figure in ["zcrx_queue_socket_limit_bytes", "zcrx_queue_socket_unread_bytes"] {
        let queues: Vec<_> = metrics.of(figure).collect();
        ensure!(!queues.is_empty(), "{figure} is missing");
        for queue in queues {
            ensure!(queue.value <= half, "more than half of the area, {half} bytes: {queue:?}");
        }
    }
    Ok(())
}

/// Many connections, some of which have a slow sink.
const TWO_HUNDRED: Scenario = Scenario {
    name: "two-hundred-connections",
    about: "200 connections over 4 queues that end as they please, 20 of them with a sink that reads nothing until the other \
            180 are through: every byte is checked, no buffer is lost, no connection waits for the sink of another",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[Proof::Completions(&["ECANCELED"])],
    limit: 500,
    default: true,
    run: || {
        const QUEUES: u16 = 4;
        let nic = Nic::with("queues=5")?;
        let (socket, file) = (work().join("sink.sock"), work().join("zcrxd.toml"));
        let mut text = String::new();
        for queue in 1..=QUEUES {
            let port = (9000 + queue).to_string();
            nic.ethtool(&[
                "-N",
                nic::RX,
                "flow-type",
                "tcp4",
                "dst-port",
                &port,
                "action",
                &queue.to_string(),
            ])?;
            // The slow sinks must fill the limit for copies.
            write!(
                text,
                "[[queue]]\ninterface = {:?}\nqueue = {queue}\nbackend = \"device\"\nlisten = [\"{}:{port}\"]\n\
                 area = \"{}\"\ncopy_out = \"1MiB\"\nsink = \"forward:unix:{}\"\n",
                nic::RX,
                nic::RX_ADDRESS,
                area(BUFFERS.into()),
                socket.display()
            )?;
        }
        std::fs::write(&file, text).context("cannot write the configuration")?;
        let sink = Sink::listen(&socket)?;
        let path = file.to_str().context("a path that is no text")?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", path])?;

        let laggards = Crowd::start(&nic.tx, QUEUES, 0..20, true)?;
        let all_paused = |metrics: &Metrics| {
            let paused = metrics.of("zcrxd_receiver_paused_connections");
            paused.filter(|sample| sample.value > 0.0).count() == usize::from(QUEUES)
        };
        daemon.until("connections are paused on every queue", STEP_LIMIT, all_paused)?;
        within_budget(&daemon.metrics()?)?;
        Crowd::start(&nic.tx, QUEUES, 20..200, false)?.finish()?;
        let metrics = daemon.metrics()?;
        within_budget(&metrics)?;
        ensure!(all_paused(&metrics), "the laggards went on without their sink");
        ensure!(metrics.need("zcrxd_receiver_copied_out_bytes_total")? > 0.0, "nothing was copied out");
        for limited in metrics.of("zcrxd_receiver_copy_out_memory_bytes") {
            ensure!(limited.value <= f64::from(1 << 20), "more was copied out than may be: {limited:?}");
        }

        sink.release();
        laggards.finish()?;
        let metrics = settled(&mut daemon)?;
        sink.finish(200)?;
        let accepted = metrics.count("zcrxd_receiver_accepted_connections_total")?;
        ensure!(accepted == 200, "{accepted} connections were accepted");
        for queue in metrics.of("zcrxd_receiver_delivered_buffers_total") {
            ensure!(queue.value > 0.0, "a queue had nothing to do: {queue:?}");
        }
        let delivered = metrics.count("zcrxd_receiver_delivered_buffers_total")?;
        let returned = metrics.count("zcrxd_receiver_returned_buffers_total")?;
        ensure!(delivered == returned, "{delivered} buffers were delivered, {returned} returned");
        kernel_agrees(&mut daemon)?;
        daemon.stop().map(drop)
    },
};

/// Connections that arrive on another queue than their listener's.
const MISPLACED: Scenario = Scenario {
    name: "misplaced-connections",
    about: "a connection that arrives on another local queue than the listener's is handed over and not copied; one that arrives \
            on a queue that is not zcrxd's is counted and named, and all of its bytes arrive",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        const BYTES: u64 = 4 << 20;
        let nic = Nic::pair()?;
        let file = work().join("zcrxd.toml");
        let mut text = String::new();
        for queue in [1, 2] {
            let listen =
                if queue == 1 { format!("listen = [\"{}\"]\n", Nic::address()) } else { String::new() };
            write!(
                text,
                "[[queue]]\ninterface = {:?}\nqueue = {queue}\nbackend = \"device\"\n{listen}sink = \"verify\"\n",
                nic::RX
            )?;
        }
        std::fs::write(&file, text).context("cannot write the configuration")?;
        let path = file.to_str().context("a path that is no text")?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", path, "--no-probes"])?;

        let of_queue = |metrics: &Metrics, name: &str, queue: &str| {
            let is = |label: Option<&String>| label.is_some_and(|label| label == queue);
            metrics
                .of(name)
                .filter(|sample| is(sample.labels.get("queue")))
                .map(|sample| sample.value as u64)
                .sum::<u64>()
        };
        nic.steer("2")?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        let verified = of_queue(&metrics, "zcrxd_receiver_verified_bytes_total", "2");
        ensure!(verified == BYTES, "queue 2 verified {verified} bytes of {BYTES}");
        // Each thread publishes its own counters: those of queue 1 may be older than those of queue 2.
        let metrics =
            daemon.until("queue 1 counts the connection as handed over", STEP_LIMIT, |metrics| {
                of_queue(metrics, "zcrxd_receiver_handed_over_connections_total", "1") == 1
            })?;
        ensure!(
            metrics.need("zcrxd_receiver_misplaced_connections_total")? == 0.0,
            "handed over, and yet misplaced"
        );
        let written = nic.stat("rx2_niov_bytes")?;
        ensure!(written >= BYTES, "the NIC wrote {written} bytes to queue 2's area");

        nic.steer("3")?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        let verified = of_queue(&metrics, "zcrxd_receiver_verified_bytes_total", "1");
        ensure!(verified == BYTES, "queue 1 verified {verified} bytes of {BYTES}");
        ensure!(
            of_queue(&metrics, "zcrxd_receiver_misplaced_connections_total", "1") == 1,
            "it is not said to be misplaced"
        );
        let log = daemon.stop()?;
        ensure!(log.contains("arrives on queue zcn0:3 and not on this one"), "the queue is not named: {log}");
        Ok(())
    },
};
