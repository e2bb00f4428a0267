//! Features of newer kernels, and what zcrxd does without them.

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::features;
use crate::harness::kprobe::Kprobe;
use crate::harness::metrics::Metrics;
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{TRANSFER_LIMIT, expect, on_device, settled};
use crate::harness::scenario::{Proof, Scenario};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, area, output, page_bytes, program};

/// Scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] =
    &[ALLOC_FAIL, COPIES, GROWTH, LARGE_BUFFERS, NO_LARGE_BUFFERS, SHARED];

const BYTES: u64 = 16 << 20;

const ON_NIC: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];

/// Size of an area that cannot fill the NIC's ring of 256 entries.
const SMALL: &str = "512KiB";

/// The kernel's event for a failed allocation.
const ALLOC_FAIL: Scenario = Scenario {
    name: "event-alloc-fail",
    about: "the kernel's event says that the NIC found no buffer, again and again; a healthy queue reports none",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Events],
    proves: &[Proof::Features(&["events"])],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut daemon = device(&nic, nic::QUEUE, &["--area", SMALL])?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), 4 * BYTES, &[])?;
        daemon.until("the event is reported for the third time", STEP_LIMIT, |metrics| {
            event(metrics, "alloc_fail").is_some_and(|events| events >= 3)
        })?;
        let reported = event(&daemon.metrics()?, "alloc_fail").unwrap_or(0);
        let failed = nic.stat("rx1_alloc_fail")?;
        ensure!(failed >= reported, "the NIC failed {failed} times, the kernel reported {reported} events");
        traffic.abandon()?;
        daemon.stop()?;

        let before = nic.stat("rx1_alloc_fail")?;
        let mut daemon = device(&nic, nic::QUEUE, &["--area", &area(4096)])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        let (reported, failed) = (event(&metrics, "alloc_fail"), nic.stat("rx1_alloc_fail")? - before);
        ensure!(
            (reported, failed) == (Some(0), 0),
            "events reported: {reported:?}; the NIC failed {failed} times"
        );
        daemon.stop().map(drop)
    },
};

/// All data arrives on another queue, and the area is smaller than the data.
const COPIES: Scenario = Scenario {
    name: "copy-fallback",
    about: "a flow that is steered elsewhere is copied into few buffers: all of it arrives, without a livelock, and the \
            kernel's own count of copies is the NIC's",
    needs: ON_NIC,
    proves: &[Proof::Completions(&["ENOMEM"]), Proof::Features(&["flush_rq", "events", "statistics"])],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        // Half of the area fills the ring of queue 0, which receives nothing. The rest must be reused.
        let mut daemon = device(&nic, 0, &["--area", "2MiB"])?;
        // Counted only once zcrxd is ready: its self-check flushes refill rings.
        let flushes = Kprobe::count("io_zcrx_ctrl");
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        let (copied, ordinary) =
            (metrics.count("zcrxd_receiver_copied_bytes_total")?, nic.stat("rx1_page_bytes")?);
        let received = metrics.count("zcrxd_receiver_received_bytes_total")?;
        // The kernel does not count copies from the linear part of a packet, which holds at most a header's length.
        ensure!(
            copied <= received && received - copied < received / 100,
            "{copied} bytes were copied of {received}"
        );
        ensure!(ordinary >= copied, "{copied} bytes were copied, {ordinary} came by ordinary pages");
        let fragments = metrics.count("zcrxd_receiver_kernel_copied_fragments_total")?;
        ensure!((1..=copied).contains(&fragments), "{copied} bytes were copied in {fragments} fragments");
        let reported = event(&metrics, "copy").unwrap_or(0);
        ensure!(reported >= 1, "no event reports the copies");
        // A receive that is armed again at once without a buffer completes half a million times.
        let rearms = metrics.count("zcrxd_receiver_rearms_total")?;
        ensure!(rearms < BYTES / 4096, "receives were armed again {rearms} times");
        let wanting = metrics
            .of("zcrxd_receiver_receive_errors_total")
            .any(|sample| sample.labels.get("errno").is_some_and(|errno| errno == "ENOMEM"));
        ensure!(
            wanting,
            "no receive ended because no buffer was free: the area is not small enough to show anything"
        );
        if let Some(flushes) = flushes {
            ensure!(flushes.hits()? > 0, "the refill ring was never flushed");
        }
        daemon.stop().map(drop)
    },
};

/// Growth of an area under pressure.
const GROWTH: Scenario = Scenario {
    name: "area-grows",
    about: "a queue with a small area starves under traffic; with area_max it grows and stops starving, or says that \
            this kernel adds no areas",
    needs: ON_NIC,
    proves: &[Proof::Features(&["add_area"])],
    limit: 500,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let starves = |daemon: &mut Daemon<'_>| -> Result<(u64, Metrics)> {
            let before = nic.stat("rx1_alloc_fail")?;
            Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
            let metrics = settled(daemon)?;
            Ok((nic.stat("rx1_alloc_fail")? - before, metrics))
        };
        let mut daemon = device(&nic, nic::QUEUE, &["--area", SMALL])?;
        let (failed, metrics) = starves(&mut daemon)?;
        ensure!(failed > 0, "the NIC lacked nothing with {SMALL}");
        ensure!(metrics.count("zcrxd_receiver_areas")? == 1, "the area grew unasked");
        daemon.stop()?;

        let mut daemon = device(&nic, nic::QUEUE, &["--area", SMALL, "--area-max", "8MiB"])?;
        if !features::adds_areas() {
            let metrics = daemon.metrics()?;
            ensure!(falls_back(&metrics, "add_area"), "zcrxd does not report that this kernel adds no areas");
            ensure!(metrics.count("zcrxd_receiver_areas")? == 1, "an area was added where there can be none");
            return daemon.stop().map(drop);
        }
        // Packets in flight during the growth may still have found no buffer.
        starves(&mut daemon)?;
        daemon.until("an area is added", STEP_LIMIT, |metrics| {
            metrics.count("zcrxd_receiver_areas").is_ok_and(|areas| areas > 1)
        })?;
        let (_, first) = starves(&mut daemon)?;
        let (failed, metrics) = starves(&mut daemon)?;
        ensure!(failed == 0, "the NIC found no buffer {failed} times after the area had grown");
        expect(&metrics, "device", 3 * BYTES)?;
        let bytes = metrics.count("zcrxd_receiver_area_bytes")?;
        ensure!(bytes <= 8 << 20, "the area grew to {bytes} bytes");
        ensure!(bytes == first.count("zcrxd_receiver_area_bytes")?, "the area grew without need");
        ensure!(metrics.count("zcrxd_receiver_refused_areas_total")? == 0, "an area was refused");
        daemon.stop().map(drop)
    },
};

/// Buffers larger than a page.
const LARGE_BUFFERS: Scenario = Scenario {
    name: "large-buffers",
    about: "buffers of 32 KiB on huge pages: a fraction of the completions, every byte verified, none copied; of more than the NIC \
            has, the largest that it has",
    needs: ON_NIC,
    proves: &[Proof::Features(&["rx_buf_len"])],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        nic.patient_sender()?;
        let mut daemon = on_device(&nic, &["--buffer", "32KiB", "--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        let buffer = metrics.count("zcrxd_receiver_buffer_bytes")?;
        ensure!(buffer == 32 << 10, "buffers have {buffer} bytes: {}", daemon.process().stderr());
        let copied = metrics.count("zcrxd_receiver_copied_bytes_total")?;
        ensure!(copied == 0, "{copied} bytes were copied");
        // A buffer of one page would need one completion for each 4096 bytes at least.
        let completions = metrics.count("zcrxd_receiver_completions_total")?;
        ensure!(completions < BYTES / 4096 / 2, "{completions} completions: the buffers are not large");
        daemon.stop()?;
        let mut daemon = on_device(&nic, &["--buffer", "1MiB", "--no-probes"])?;
        Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "device", BYTES)?;
        let buffer = metrics.count("zcrxd_receiver_buffer_bytes")?;
        ensure!(buffer == 64 << 10, "the NIC has buffers of 64 KiB at most, and zcrxd uses {buffer} bytes");
        ensure!(falls_back(&metrics, "rx_buf_len"), "zcrxd does not report that the buffers are smaller");
        daemon.stop().map(drop)
    },
};

/// Buffers larger than a page where the kernel refuses them.
const NO_LARGE_BUFFERS: Scenario = Scenario {
    name: "large-buffers-refused",
    about: "without a device there are no buffers larger than a page: zcrxd explains the refusal, and data arrives anyway",
    needs: &[Need::Zcrx, Need::Nodev],
    proves: &[Proof::Registrations(&["EOPNOTSUPP"]), Proof::Features(&["rx_buf_len"])],
    limit: 200,
    default: true,
    run: || {
        let host = Namespace::create()?;
        let listen = "127.0.0.1:9999";
        let mut arguments = vec!["--listen", listen, "--backend", "nodev", "--sink", "verify", "--no-probes"];
        arguments.extend(["--buffer", "32KiB"]);
        let mut daemon = Daemon::start(&host, &arguments)?;
        Traffic::start(&host, listen, 1 << 20, &[])?.finish(TRANSFER_LIMIT)?;
        let metrics = settled(&mut daemon)?;
        expect(&metrics, "nodev", 1 << 20)?;
        let buffer = metrics.count("zcrxd_receiver_buffer_bytes")?;
        ensure!(buffer == page_bytes(), "buffers have {buffer} bytes");
        ensure!(falls_back(&metrics, "rx_buf_len"), "zcrxd does not report that the buffers are small");
        let log = daemon.stop()?;
        ensure!(log.contains("EOPNOTSUPP"), "the log does not say why: {log}");
        Ok(())
    },
};

/// Starts a daemon that verifies the payload of a hardware queue.
fn device<'a>(nic: &'a Nic, queue: u32, further: &[&str]) -> Result<Daemon<'a>> {
    let (listen, queue) = (Nic::address(), queue.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device", "--sink", "verify", "--no-probes"]);
    arguments.extend(further);
    Daemon::start(&nic.rx, &arguments)
}

/// Number of times that the kernel reported an event.
fn event(metrics: &Metrics, event: &str) -> Option<u64> {
    let of_event = |sample: &&crate::harness::metrics::Sample| {
        sample.labels.get("notification").is_some_and(|name| name == event)
    };
    metrics.of("zcrxd_receiver_notifications_total").find(of_event).map(|sample| sample.value as u64)
}

/// Whether zcrxd reports that the queue lacks this feature.
fn falls_back(metrics: &Metrics, feature: &str) -> bool {
    let mut samples = metrics.of("zcrxd_receiver_feature_fallback_info");
    samples.any(|sample| sample.labels.get("feature").is_some_and(|name| name == feature))
}

/// A queue that two rings share.
const SHARED: Scenario = Scenario {
    name: "shared-queue",
    about: "an exported queue is imported by another thread's ring and outlives the ring that registered it",
    needs: ON_NIC,
    proves: &[Proof::Registrations(&["EBADF"]), Proof::Features(&["export"])],
    limit: 120,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let queue = nic::QUEUE.to_string();
        let arguments = ["--interface", nic::RX, "--queue", &queue];
        let mut command = nic.rx.command(program("faulty-app"));
        let said = output(command.arg("register").args(arguments).arg("--share"))?;
        let said: serde_json::Value =
            serde_json::from_str(&said).context("the foreign program speaks no JSON")?;
        ensure!(said["imported"] == 0, "the queue cannot be imported: {said}");
        ensure!(
            said["imported_wrongly"] == libc::EBADF,
            "what is no queue is not refused with EBADF: {said}"
        );
        ensure!(said["taken"] == libc::EEXIST, "the importing ring does not keep the queue: {said}");
        Ok(())
    },
};
