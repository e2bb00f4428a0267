//! Metrics of zcrxd's receivers: the user-space side of the queues that zcrxd receives on.

use std::collections::BTreeMap;

use super::queue::labels;
use super::series::Series;
use super::table::Read::{Each, One};
use super::table::{LabelValue, Metric, Subject};
use crate::model::{ENTRIES, MICROSECONDS, QueueState, ReceiveSample};
use crate::observe::errno_label;

impl Subject for ReceiveSample {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        labels(&self.key)
    }
}

/// The allocator of a real zcrx queue belongs to the kernel: only the software interface queue sees it run dry.
const KERNEL_ALLOCATES: &str = "the backend is device or nodev: zcrx_queue_starving has the kernel's figure";
const ONE_THREAD: &str = "the receiver has one thread";
const NOT_VERIFY: &str = "the sink is not verify";
const NO_ERROR: &str = "no such error has occurred";

type Row = Metric<ReceiveSample>;

pub(super) static RECEIVER: &[Row] = &[
    Row::gauge(
        "zcrxd_receiver_info",
        "A receiver of zcrxd: the backend it runs on and the sink that consumes its data. Always 1.",
        Each(&["backend", "sink"], |queue, series| {
            let backend = queue.selection.backend.map_or("", |backend| backend.name());
            series.push(&[backend, &queue.sink], 1.0);
        }),
    ),
    Row::gauge(
        "zcrxd_receiver_backend_refused_info",
        "A better backend that was tried and refused, with the errno if the kernel refused it. Always 1.",
        Each(&["backend", "errno"], |queue, series| {
            for refusal in &queue.selection.refused {
                let errno = refusal.errno.map(errno_label).unwrap_or_default();
                series.push(&[refusal.backend.name(), &errno], 1.0);
            }
        }),
    )
    .absent("no backend was refused"),
    Row::gauge(
        "zcrxd_receiver_state",
        "State of the receiver (running, degraded, failed, stopped): 1 for the current state, 0 for the others.",
        Each(&["state"], |queue, series| {
            for state in QueueState::ALL {
                series.push(&[state.name()], f64::from(u8::from(state == queue.state)));
            }
        }),
    ),
    Row::gauge(
        "zcrxd_receiver_area_bytes",
        "Size in bytes of the receiver's area.",
        One(|queue| Some(queue.area_bytes as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_buffer_bytes",
        "Size in bytes of one buffer (niov) of the receiver's area.",
        One(|queue| Some(queue.buffer_bytes as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_area_buffers",
        "Buffers (niovs) in the receiver's area.",
        One(|queue| Some(queue.buffers as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_delivered_buffers_total",
        "Completions that delivered a buffer, or a fragment of one, to the receiver.",
        One(|queue| Some(queue.dispensed as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_returned_buffers_total",
        "Buffers, or fragments of one, that the receiver returned through the refill ring.",
        One(|queue| Some(queue.returned as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_reclaimed_buffers_total",
        "Buffers that the receiver held when its queue was torn down; the teardown took them back.",
        One(|queue| Some(queue.reclaimed as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_held_buffers",
        "Buffers, or fragments of one, that were delivered to the receiver and neither returned nor reclaimed.",
        One(|queue| Some(queue.held() as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_stashed_buffers",
        "Held buffers that the sink has released but the refill ring has no room for.",
        One(|queue| Some(queue.stashed as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_refill_ring_capacity_entries",
        "Capacity of the receiver's refill ring, in entries.",
        One(|queue| Some(f64::from(queue.refill_capacity))),
    ),
    Row::gauge(
        "zcrxd_receiver_refill_ring_pending_entries",
        "Refill entries that the receiver published and the allocator has not consumed.",
        One(|queue| Some(f64::from(queue.refill_depth))),
    ),
    Row::gauge(
        "zcrxd_receiver_cq_capacity_entries",
        "Capacity of the receiver's completion queue, in entries.",
        One(|queue| Some(f64::from(queue.cq_capacity))),
    ),
    Row::gauge(
        "zcrxd_receiver_cq_unread_entries",
        "Completions that the receiver has not read.",
        One(|queue| Some(f64::from(queue.cq_depth))),
    ),
    Row::counter(
        "zcrxd_receiver_cq_overflows_total",
        "Completions that found no room in the receiver's completion queue.",
        One(|queue| Some(queue.cq_overflows as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_received_bytes_total",
        "Payload in bytes that the receiver received.",
        One(|queue| Some(queue.bytes as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_copied_bytes_total",
        "Payload in bytes that was copied into the receiver's area instead of being placed there by the NIC.",
        One(|queue| queue.copied_bytes.map(|bytes| bytes as f64)),
    )
    .absent("this kernel does not count copies"),
    Row::counter(
        "zcrxd_receiver_completions_total",
        "Completions with data that the receiver has read.",
        One(|queue| Some(queue.completions as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_workers",
        "Number of threads that receive on the queue now. Fewer than configured if one could not join.",
        One(|queue| {
            let receiving = queue.workers.iter().filter(|worker| worker.receives).count();
            (!queue.workers.is_empty()).then_some(receiving as f64)
        }),
    )
    .absent(ONE_THREAD),
    Row::counter(
        "zcrxd_receiver_worker_completions_total",
        "Completions with data by the thread whose ring delivered them.",
        Each(&["worker"], |queue, series| {
            for (index, worker) in queue.workers.iter().enumerate() {
                series.push(&[&index.to_string()], worker.completions as f64);
            }
        }),
    )
    .absent(ONE_THREAD),
    Row::counter(
        "zcrxd_receiver_receive_errors_total",
        "Receives of the receiver that ended with an error, by errno.",
        Each(&["errno"], |queue, series| by_errno(&queue.errors, series)),
    )
    .absent(NO_ERROR),
    Row::counter(
        "zcrxd_receiver_accept_errors_total",
        "Connections that the receiver could not accept, by errno.",
        Each(&["errno"], |queue, series| by_errno(&queue.accept_errors, series)),
    )
    .absent(NO_ERROR),
    Row::counter(
        "zcrxd_receiver_sink_errors_total",
        "Connections that ended because the sink did not take their data (full disk, unreachable destination), by errno.",
        Each(&["errno"], |queue, series| by_errno(&queue.sink_errors, series)),
    )
    .absent(NO_ERROR),
    Row::counter(
        "zcrxd_receiver_rearms_total",
        "Multishot receives that ended and were armed again.",
        One(|queue| Some(queue.rearms as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_starvations_total",
        "Number of times that the software interface queue had no free buffer.",
        One(|queue| queue.starvations.map(|count| count as f64)),
    )
    .absent(KERNEL_ALLOCATES),
    Row::gauge(
        "zcrxd_receiver_starving",
        "1 while a receive on the software interface queue waits for a buffer, else 0.",
        One(|queue| queue.starving.map(|starving| f64::from(u8::from(starving)))),
    )
    .absent(KERNEL_ALLOCATES),
    Row::counter(
        "zcrxd_receiver_accepted_connections_total",
        "Connections that the receiver accepted.",
        One(|queue| Some(queue.accepted as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_connections",
        "Open connections of the receiver.",
        One(|queue| Some(queue.connections as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_verified_bytes_total",
        "Payload in bytes that the sink compared with the test pattern.",
        One(|queue| verified(queue).then_some(queue.verified_bytes as f64)),
    )
    .absent(NOT_VERIFY),
    Row::counter(
        "zcrxd_receiver_mismatched_bytes_total",
        "Verified payload in bytes that differed from the test pattern. Anything above 0 is corrupt data.",
        One(|queue| verified(queue).then_some(queue.mismatched_bytes as f64)),
    )
    .absent(NOT_VERIFY),
    Row::histogram(
        "zcrxd_receiver_hold_seconds",
        "Time in seconds from the batch that delivered a buffer until the receiver returned it.",
        &MICROSECONDS,
        |queue| Some(queue.ring?.hold),
    ),
    Row::gauge(
        "zcrxd_receiver_oldest_held_buffer_seconds",
        "Time in seconds that the receiver has held the buffer which it has held longest.",
        One(|queue| Some(queue.ring?.oldest_held?.as_secs_f64())),
    )
    .absent("the receiver holds no buffer"),
    Row::histogram(
        "zcrxd_receiver_refill_ring_fill_entries",
        "Refill entries that waited in the refill ring right after the receiver published a batch.",
        &ENTRIES,
        |queue| Some(queue.ring?.refill_depth),
    ),
    Row::histogram(
        "zcrxd_receiver_publish_batch_entries",
        "Refill entries that the receiver published at once.",
        &ENTRIES,
        |queue| Some(queue.ring?.published),
    ),
    Row::counter(
        "zcrxd_receiver_refill_ring_full_total",
        "Number of times that the receiver stashed buffers because the refill ring was full.",
        One(|queue| Some(queue.ring?.refill_full as f64)),
    ),
    Row::histogram(
        "zcrxd_receiver_reap_batch_completions",
        "Completions that the receiver found waiting when it began a batch.",
        &ENTRIES,
        |queue| Some(queue.ring?.cq_depth),
    ),
    Row::counter(
        "zcrxd_receiver_refill_flushes_total",
        "Number of times that the receiver had the kernel consume the refill ring.",
        One(|queue| Some(queue.ring?.flushes? as f64)),
    )
    .absent("the kernel has no flush operation (Linux 6.19), or the backend is copy"),
    Row::counter(
        "zcrxd_receiver_receive_retries_total",
        "Receives that ended because no buffer was free and were armed again.",
        One(|queue| Some(queue.ring?.retries as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_sink_connect_retries_total",
        "Attempts of a sink to connect to its destination that failed and were repeated.",
        One(|queue| Some(queue.ring?.connect_retries as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_unreported_connection_ends_total",
        "Connections that ended, mostly by a reset, without a completion; the receiver found them by polling.",
        One(|queue| Some(queue.ring?.unreported_ends as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_registrations_total",
        "Number of times that the receiver registered its queue; more than one if the queue failed and recovered.",
        One(|queue| Some(queue.ring?.registrations as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_napi_busy_poll_seconds",
        "Time in seconds that a wait for completions polls the NIC before it sleeps.",
        One(|queue| Some(queue.ring?.busy_poll?.as_secs_f64())),
    )
    .absent("busy polling is not configured, or was refused by the kernel"),
    Row::gauge(
        "zcrxd_receiver_min_wait_seconds",
        "Time in seconds for which a wait gathers completions before the receiver handles fewer than 128.",
        One(|queue| Some(queue.ring?.min_wait?.as_secs_f64())),
    )
    .absent("min_wait is not configured, or the kernel does not support it (before Linux 6.12)"),
    Row::counter(
        "zcrxd_receiver_misplaced_connections_total",
        "Connections that arrive on a hardware queue which zcrxd does not receive on: copied, or not received at all.",
        One(|queue| Some(queue.ring?.misplaced as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_handed_over_connections_total",
        "Connections that the receiver handed to the thread of the local queue they arrive on.",
        One(|queue| Some(queue.ring?.handed_over as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_sink_held_buffers",
        "Buffers that sinks hold because they have not finished with the data.",
        One(|queue| Some(queue.ring?.backlog.held as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_sink_hold_limit_buffers",
        "Number of buffers held by sinks above which payload is copied to ordinary memory.",
        One(|queue| Some(queue.ring?.backlog.hold_limit? as f64)),
    )
    .absent("hold_limit is the whole area"),
    Row::counter(
        "zcrxd_receiver_sink_hold_limit_reached_total",
        "Number of times that a connection reached its share of the hold limit, so that its payload was copied out.",
        One(|queue| Some(queue.ring?.backlog.limit_reached as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_copied_out_bytes_total",
        "Payload in bytes that was copied from the area to ordinary memory because of a slow sink.",
        One(|queue| Some(queue.ring?.backlog.copied_out_bytes as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_forwarded_zero_copy_bytes_total",
        "Payload in bytes that forward sinks sent from the area without a copy (forward_zero_copy).",
        One(|queue| Some(queue.ring?.backlog.zero_copy_bytes as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_forwarded_zero_copy_copied_sends_total",
        "Sends of forward sinks without a copy whose payload the kernel copied, as for destinations on this host.",
        One(|queue| Some(queue.ring?.backlog.zero_copy_copied as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_copy_out_memory_bytes",
        "Memory in bytes that payload copied out of the area uses.",
        One(|queue| Some(queue.ring?.backlog.copy_out_bytes as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_copy_out_memory_limit_bytes",
        "Limit in bytes of the memory for payload copied out of the area.",
        One(|queue| Some(queue.ring?.backlog.copy_out_limit_bytes as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_connection_pauses_total",
        "Number of times that the receiver stopped receiving from a connection until its slow sink caught up.",
        One(|queue| Some(queue.ring?.backlog.pauses as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_paused_connections",
        "Connections that the receiver does not receive from now because their sink is slow.",
        One(|queue| Some(queue.ring?.backlog.paused as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_lost_bytes_total",
        "Payload in bytes that was acknowledged to senders and that the sink's destination did not get or confirm.",
        One(|queue| Some(queue.ring?.lost_bytes as f64)),
    ),
    Row::counter(
        "zcrxd_receiver_refused_connections_total",
        "Connections that the receiver closed at once because its sockets had their share of the area.",
        One(|queue| Some(queue.ring?.refused_connections as f64)),
    ),
    Row::gauge(
        "zcrxd_receiver_connection_limit",
        "Most connections that a device queue takes: payload in their sockets occupies buffers of the area.",
        One(|queue| Some(queue.ring?.connection_limit? as f64)),
    )
    .absent("the backend is nodev or copy: sockets take nothing from the area"),
    Row::gauge(
        "zcrxd_receiver_socket_buffer_bytes",
        "Receive buffer in bytes of each socket of a device queue: its share of half of the area.",
        One(|queue| Some(queue.ring?.socket_buffer_bytes? as f64)),
    )
    .absent("the kernel sizes the sockets: the area is large enough"),
];

fn verified(queue: &ReceiveSample) -> bool {
    queue.sink == "verify"
}

fn by_errno(errors: &BTreeMap<i32, u64>, series: &mut Series<'_>) {
    for (errno, count) in errors {
        series.push(&[&errno_label(*errno)], *count as f64);
    }
}
