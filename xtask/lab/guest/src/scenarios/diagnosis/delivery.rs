//! What the event probes count, held against the program that it happened to, the NIC, and the kernel's own kprobes.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::counts::{agree, no_residence};
use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::kprobe::Kprobe;
use crate::harness::metrics::Metrics;
use crate::harness::namespace::Namespace;
use crate::harness::nic::Nic;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[COPIED, COPIED_KRETPROBE, COPIED_KPROBE_MULTI, ON_DEVICE];

/// What is sent in each.
const BYTES: u64 = 8 << 20;

/// Copies, flushes and failed receives.
const COPIED: Scenario = Scenario {
    name: "probes-delivery",
    about: "receives, copies, flushes, errors and notifications of a queue without a device: as the program that owns it and the \
            kernel's own kprobes count them",
    needs: &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || copied("auto"),
};

/// The same by breakpoints.
const COPIED_KRETPROBE: Scenario = Scenario {
    name: "probes-delivery-kretprobe",
    about: "the same, counted by kretprobes",
    needs: &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 400,
    default: false,
    run: || copied("kretprobe"),
};

/// The same by ftrace.
const COPIED_KPROBE_MULTI: Scenario = Scenario {
    name: "probes-delivery-kprobe-multi",
    about: "the same, counted by kprobe_multi",
    needs: &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 400,
    default: false,
    run: || copied("kprobe-multi"),
};

/// zcrxd compared what these probes counted with what it did to a queue of its own, and each figure was right.
fn counts_are_checked(metrics: &Metrics) -> Result<()> {
    for figure in
        ["delivery.bytes", "copy.bytes", "copy.buffers", "control.flushes", "control.flushed", "areas.free"]
    {
        let checked = metrics.one("zcrxd_self_check_passed", &[("figure", figure)])?;
        ensure!(checked.count() == 1, "the self-check says of a right figure: {checked:?}");
    }
    Ok(())
}

fn copied(mechanism: &str) -> Result<()> {
    let host = Namespace::create()?;
    let mut foreign = Foreign::start(&host, &["--area-buffers", "256", "--refill-entries", "256"])?;
    let config = ["--probe-mechanism", mechanism];
    let mut daemon = Daemon::start(&host, &config)?;
    counts_are_checked(&daemon.metrics()?)?;
    // Not before zcrxd is ready: its check of the snapshot receives, copies and flushes.
    let receives = Kprobe::count("io_zcrx_recv").context("io_zcrx_recv cannot be probed")?;
    let copies = Kprobe::count("io_zcrx_copy_chunk").context("io_zcrx_copy_chunk cannot be probed")?;
    let controls = Kprobe::count("io_zcrx_ctrl").context("io_zcrx_ctrl cannot be probed")?;

    Traffic::start(&host, "127.0.0.1:9999", BYTES, &[])?.finish(TRANSFER_LIMIT)?;
    agree(&mut foreign, &daemon, |metrics, truth| {
        let (bytes, truly) =
            (metrics.count("zcrx_queue_received_bytes_total")?, number(truth, "received_bytes")?);
        // A receive that ends with an error does not say what it had delivered by then.
        let failed = errors(truth, "ENOMEM") > 0;
        Ok(vec![("bytes", bytes, if failed { truly.min(bytes) } else { truly })])
    })?;
    // Held buffers leave none to copy into: receives end with ENOMEM, again and again.
    foreign.order("hold")?;
    let traffic = Traffic::start(&host, "127.0.0.1:9999", BYTES, &[])?;
    foreign.until("receives fail", STEP_LIMIT, |truth| errors(truth, "ENOMEM") >= 3)?;
    foreign.order("resume")?;
    traffic.finish(TRANSFER_LIMIT)?;

    let agreed = |metrics: &Metrics, truth: &Value| -> Result<Vec<(&'static str, u64, u64)>> {
        let by = |name, label, value| by_label(metrics, name, label, value);
        let mut rows = vec![
            (
                "copied bytes",
                metrics.count("zcrx_queue_copied_bytes_total")?,
                number(truth, "received_bytes")?,
            ),
            (
                "copied buffers",
                metrics.count("zcrx_queue_copied_buffers_total")?,
                number(truth, "delivered")?,
            ),
            ("receives", metrics.count("zcrx_queue_receives_total")?, receives.hits()?),
            ("copies", metrics.count("zcrx_queue_copies_total")?, copies.hits()?),
            ("flushes", by("zcrx_queue_control_calls_total", "operation", "flush_rq"), controls.hits()?),
            (
                "flushed",
                metrics.count("zcrx_queue_flushed_refill_entries_total")?,
                number(truth, "refill_head")?,
            ),
            ("ENOMEM", by("zcrx_queue_receive_errors_total", "errno", "ENOMEM"), errors(truth, "ENOMEM")),
        ];
        if metrics.sum("zcrx_queue_raised_notifications_total").is_some() {
            let sent = by("zcrx_queue_sent_notifications_total", "notification", "copy");
            rows.push(("copy notifications", sent, number(truth, "copy_events")?));
        }
        Ok(rows)
    };
    agree(&mut foreign, &daemon, agreed)?;
    let metrics = daemon.metrics()?;
    let (bytes, copied) =
        (metrics.count("zcrx_queue_received_bytes_total")?, metrics.count("zcrx_queue_copied_bytes_total")?);
    ensure!(bytes <= copied, "receives delivered {bytes} bytes, of which {copied} were copied");
    ensure!(metrics.sum("zcrxd_probe_lost_events_total") == Some(0.0), "events were lost");
    ensure!(metrics.sum("zcrxd_probe_program_missed_runs_total") == Some(0.0), "runs were missed");
    // Keys are counted every few seconds only.
    daemon.until("one queue has one entry", STEP_LIMIT, |metrics| entries(metrics) == Some(1.0))?;

    foreign.quit()?;
    let metrics = daemon.until("the queue is freed and its counts are forgotten", STEP_LIMIT, |metrics| {
        is_freed(metrics) && entries(metrics) == Some(0.0)
    })?;
    ensure!(metrics.count("zcrx_rings_freed_total")? == 1, "one ring had queues and ended");
    ensure!(metrics.count("zcrx_queues_freed_total")? == 1, "one queue ended");
    daemon.stop().map(drop)
}

/// Lives, and zero copy.
const ON_DEVICE: Scenario = Scenario {
    name: "probes-lives",
    about: "a queue on a device from its begin to its end: page pools, zero-copy bytes, failed allocations notified, as the NIC \
            and the owner count them; run counts with statistics",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let config = crate::harness::work().join("statistics.toml");
        std::fs::write(&config, "[probes]\nstatistics = true\n").context("cannot write a configuration")?;
        let begun = Kprobe::count("io_pp_zc_init").context("io_pp_zc_init cannot be probed")?;
        let ended = Kprobe::count("io_pp_zc_destroy").context("io_pp_zc_destroy cannot be probed")?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", &config.to_string_lossy()])?;
        let listen = Nic::address();
        let mut foreign = Foreign::on_nic(&nic, &["--area-buffers", "1024"])?;
        Traffic::start(&nic.tx, &listen, BYTES, &[])?.finish(TRANSFER_LIMIT)?;
        foreign.order("hold")?;
        let before = nic.stat("rx1_alloc_fail")?;
        let traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > before).then_some(()))
        })?;
        foreign.order("resume")?;
        traffic.finish(TRANSFER_LIMIT)?;

        agree(&mut foreign, &daemon, |metrics, truth| {
            let by = |name| by_label(metrics, name, "notification", "alloc_fail");
            Ok(vec![
                (
                    "bytes",
                    metrics.count("zcrx_queue_received_bytes_total")?,
                    number(truth, "received_bytes")?,
                ),
                ("copies", metrics.count("zcrx_queue_copied_bytes_total")?, number(truth, "copied_bytes")?),
                ("raised", by("zcrx_queue_raised_notifications_total"), nic.stat("rx1_alloc_fail")?),
                ("sent", by("zcrx_queue_sent_notifications_total"), number(truth, "alloc_fail_events")?),
                ("pools begun", metrics.count("zcrx_provider_pools_attached_total")?, begun.hits()?),
            ])
        })?;
        let metrics = daemon.metrics()?;
        no_residence(&metrics)?;
        let runs = metrics.of("zcrxd_probe_program_runs_total");
        let runs =
            runs.filter(|sample| sample.labels.get("program").is_some_and(|name| name == "allocation_fexit"));
        let runs: f64 = runs.map(|sample| sample.value).sum();
        ensure!(
            runs >= metrics.need("zcrx_queue_allocations_total")?,
            "allocation_fexit ran {runs} times only"
        );
        foreign.quit()?;
        let metrics = daemon.until("the pool and the queue are gone", STEP_LIMIT, |metrics| {
            is_freed(metrics)
                && metrics.sum("zcrx_provider_pools_freed_total") == Some(1.0)
                && entries(metrics) == Some(0.0)
        })?;
        ensure!(ended.hits()? == 1, "the kernel's own kprobe saw another number of pools end");
        ensure!(metrics.count("zcrx_rings_freed_total")? == 1, "one ring had queues and ended");
        ensure!(metrics.count("zcrx_queues_freed_total")? == 1, "one queue ended");
        daemon.stop().map(drop)
    },
};

/// How many of the program's receives ended with that errno.
fn errors(truth: &Value, errno: &str) -> u64 {
    truth["endings"][errno].as_u64().unwrap_or(0)
}

/// The sum of the samples of a metric with that label, 0 if there is none.
fn by_label(metrics: &Metrics, name: &str, label: &str, value: &str) -> u64 {
    let samples = metrics.of(name).filter(|sample| sample.labels.get(label).is_some_and(|it| it == value));
    samples.map(|sample| sample.value as u64).sum()
}

/// Whether a queue has ended. The kernel frees it some time after its ring and its page pool.
fn is_freed(metrics: &Metrics) -> bool {
    metrics.sum("zcrx_queues_freed_total").is_some_and(|queues| queues > 0.0)
}

/// Queues that are counted.
fn entries(metrics: &Metrics) -> Option<f64> {
    let mut maps = metrics.of("zcrxd_probe_map_entries");
    maps.find(|sample| sample.labels.get("map").is_some_and(|map| map == "queue_events"))
        .map(|sample| sample.value)
}
