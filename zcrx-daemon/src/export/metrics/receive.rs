//! Metrics of zcrxd's own receive queues.

use std::collections::BTreeMap;

use super::series::Series;
use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::model::{ENTRIES, MICROSECONDS, QueueState, ReceiveSample};
use crate::observe::errno_label;

impl Subject for ReceiveSample {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> Vec<Option<String>> {
        vec![self.key.interface.clone(), Some(self.key.queue.to_string())]
    }
}

/// The allocator of a real zcrx queue belongs to the kernel: only the software interface queue sees it run dry.
const KERNEL_ALLOCATES: &str = "backend is device or nodev: the kernel allocates";
const ONE_THREAD: &str = "the queue has one thread";
const NOT_VERIFY: &str = "sink is not verify";

type Row = Metric<ReceiveSample>;

pub(super) static QUEUE: &[Row] = &[
    Row::gauge(
        "zcrx_receive_info",
        "What the queue runs on and what consumes its data, always 1.",
        Each(&["backend", "sink"], |queue, series| {
            let backend = queue.selection.backend.map_or("", |backend| backend.name());
            series.push(&[backend, &queue.sink], 1.0);
        }),
    ),
    Row::gauge(
        "zcrx_receive_backend_refused_info",
        "A better backend that was tried and refused, and the errno if the kernel refused, always 1.",
        Each(&["backend", "errno"], |queue, series| {
            for refusal in &queue.selection.refused {
                let errno = refusal.errno.map(errno_label).unwrap_or_default();
                series.push(&[refusal.backend.name(), &errno], 1.0);
            }
        }),
    )
    .absent("no backend was refused"),
    Row::gauge(
        "zcrx_receive_state",
        "Where the queue's life stands: 1 for the state that holds, 0 for the others.",
        Each(&["state"], |queue, series| {
            for state in QueueState::ALL {
                series.push(&[state.name()], f64::from(u8::from(state == queue.state)));
            }
        }),
    ),
    Row::gauge("zcrx_receive_area_bytes", "Size of the area.", One(|queue| Some(queue.area_bytes as f64))),
    Row::gauge(
        "zcrx_receive_buffer_bytes",
        "Size of one buffer (niov) of the area.",
        One(|queue| Some(queue.buffer_bytes as f64)),
    ),
    Row::gauge(
        "zcrx_receive_area_buffers",
        "Buffers (niovs) in the area.",
        One(|queue| Some(queue.buffers as f64)),
    ),
    Row::counter(
        "zcrx_receive_buffers_dispensed_total",
        "Completions that handed a buffer, or part of one, to user space.",
        One(|queue| Some(queue.dispensed as f64)),
    ),
    Row::counter(
        "zcrx_receive_buffers_returned_total",
        "Refill entries published.",
        One(|queue| Some(queue.returned as f64)),
    ),
    Row::counter(
        "zcrx_receive_buffers_reclaimed_total",
        "Buffers still held when their queue was torn down, which took them back without a refill entry.",
        One(|queue| Some(queue.reclaimed as f64)),
    ),
    Row::gauge(
        "zcrx_receive_buffers_held",
        "Buffers that user space holds: dispensed, and neither returned nor reclaimed.",
        One(|queue| Some(queue.held() as f64)),
    ),
    Row::gauge(
        "zcrx_receive_buffers_stashed",
        "Of the held buffers, those the consumer gave back but a full refill ring keeps from being returned.",
        One(|queue| Some(queue.stashed as f64)),
    ),
    Row::gauge(
        "zcrx_receive_refill_ring_capacity",
        "Entries the refill ring has room for.",
        One(|queue| Some(f64::from(queue.refill_capacity))),
    ),
    Row::gauge(
        "zcrx_receive_refill_ring_depth",
        "Published refill entries that nobody has consumed yet.",
        One(|queue| Some(f64::from(queue.refill_depth))),
    ),
    Row::gauge(
        "zcrx_receive_cq_capacity",
        "Entries the completion queue has room for.",
        One(|queue| Some(f64::from(queue.cq_capacity))),
    ),
    Row::gauge(
        "zcrx_receive_cq_depth",
        "Completions waiting to be reaped.",
        One(|queue| Some(f64::from(queue.cq_depth))),
    ),
    Row::counter(
        "zcrx_receive_cq_overflows_total",
        "Completions that the completion queue had no room for.",
        One(|queue| Some(queue.cq_overflows as f64)),
    ),
    Row::counter("zcrx_receive_bytes_total", "Payload received.", One(|queue| Some(queue.bytes as f64))),
    Row::counter(
        "zcrx_receive_copied_bytes_total",
        "Payload that was copied into the area instead of being placed there by the NIC.",
        One(|queue| queue.copied_bytes.map(|bytes| bytes as f64)),
    )
    .absent("this kernel does not tell"),
    Row::counter(
        "zcrx_receive_completions_total",
        "Completions that carried data.",
        One(|queue| Some(queue.completions as f64)),
    ),
    Row::gauge(
        "zcrx_receive_workers",
        "Threads that receive what the queue brings now.",
        One(|queue| {
            let receiving = queue.workers.iter().filter(|worker| worker.receives).count();
            (!queue.workers.is_empty()).then_some(receiving as f64)
        }),
    )
    .absent(ONE_THREAD),
    Row::counter(
        "zcrx_receive_worker_completions_total",
        "Completions that carried data, by the thread whose ring they came on.",
        Each(&["worker"], |queue, series| {
            for (index, worker) in queue.workers.iter().enumerate() {
                series.push(&[&index.to_string()], worker.completions as f64);
            }
        }),
    )
    .absent(ONE_THREAD),
    Row::counter(
        "zcrx_receive_errors_total",
        "Completions that ended a receive with an error.",
        Each(&["errno"], |queue, series| by_errno(&queue.errors, series)),
    )
    .absent("no error yet"),
    Row::counter(
        "zcrx_receive_accept_errors_total",
        "Connections that could not be accepted.",
        Each(&["errno"], |queue, series| by_errno(&queue.accept_errors, series)),
    )
    .absent("no error yet"),
    Row::counter(
        "zcrx_receive_sink_errors_total",
        "Connections that ended because their data could not be given to the sink: the disk is full, the destination is not \
         there or gone.",
        Each(&["errno"], |queue, series| by_errno(&queue.sink_errors, series)),
    )
    .absent("no error yet"),
    Row::counter(
        "zcrx_receive_rearms_total",
        "Receives armed again after their multishot ended.",
        One(|queue| Some(queue.rearms as f64)),
    ),
    Row::counter(
        "zcrx_receive_starvations_total",
        "Times the queue had no buffer to give.",
        One(|queue| queue.starvations.map(|count| count as f64)),
    )
    .absent(KERNEL_ALLOCATES),
    Row::gauge(
        "zcrx_receive_starving",
        "1 while a receive waits for a buffer.",
        One(|queue| queue.starving.map(|starving| f64::from(u8::from(starving)))),
    )
    .absent(KERNEL_ALLOCATES),
    Row::counter(
        "zcrx_receive_connections_accepted_total",
        "Connections accepted.",
        One(|queue| Some(queue.accepted as f64)),
    ),
    Row::gauge(
        "zcrx_receive_connections",
        "Connections open now.",
        One(|queue| Some(queue.connections as f64)),
    ),
    Row::counter(
        "zcrx_receive_verified_bytes_total",
        "Payload compared with the test pattern.",
        One(|queue| verified(queue).then_some(queue.verified_bytes as f64)),
    )
    .absent(NOT_VERIFY),
    Row::counter(
        "zcrx_receive_mismatched_bytes_total",
        "Verified payload that was not what the test pattern says.",
        One(|queue| verified(queue).then_some(queue.mismatched_bytes as f64)),
    )
    .absent(NOT_VERIFY),
    Row::histogram(
        "zcrx_receive_hold_seconds",
        "How long buffers were held: from the batch in which their completion was reaped until they were published \
         in the refill ring.",
        &MICROSECONDS,
        |queue| Some(queue.ring?.hold),
    ),
    Row::gauge(
        "zcrx_receive_oldest_held_seconds",
        "How long the buffer that is held longest has been held.",
        One(|queue| Some(queue.ring?.oldest_held?.as_secs_f64())),
    )
    .absent("no buffer is held"),
    Row::histogram(
        "zcrx_receive_refill_ring_depth_published",
        "Refill entries that nobody had consumed right after a batch of them was published.",
        &ENTRIES,
        |queue| Some(queue.ring?.refill_depth),
    ),
    Row::histogram(
        "zcrx_receive_published_entries",
        "Refill entries that were published at once.",
        &ENTRIES,
        |queue| Some(queue.ring?.published),
    ),
    Row::counter(
        "zcrx_receive_refill_ring_full_total",
        "Times that entries had to be stashed because the refill ring was full.",
        One(|queue| Some(queue.ring?.refill_full as f64)),
    ),
    Row::histogram(
        "zcrx_receive_cq_depth_reaped",
        "Completions found waiting each time that some were.",
        &ENTRIES,
        |queue| Some(queue.ring?.cq_depth),
    ),
    Row::counter(
        "zcrx_receive_refill_flushes_total",
        "Times the kernel was told to consume the refill ring.",
        One(|queue| Some(queue.ring?.flushes? as f64)),
    )
    .absent("the kernel cannot be told (Linux 6.19 can), or the backend is copy"),
    Row::counter(
        "zcrx_receive_retries_total",
        "Receives that ended for want of a buffer and were armed again.",
        One(|queue| Some(queue.ring?.retries as f64)),
    ),
    Row::counter(
        "zcrx_receive_sink_connect_retries_total",
        "Times that a sink's destination could not be connected to, and was tried again.",
        One(|queue| Some(queue.ring?.connect_retries as f64)),
    ),
    Row::counter(
        "zcrx_receive_unreported_ends_total",
        "Connections that had ended, mostly by a reset, without a completion to say so: their receives were begun anew.",
        One(|queue| Some(queue.ring?.unreported_ends as f64)),
    ),
    Row::counter(
        "zcrx_receive_registrations_total",
        "Times that the queue was registered, on whichever backend; more than once where it failed and came back.",
        One(|queue| Some(queue.ring?.registrations as f64)),
    ),
    Row::gauge(
        "zcrx_receive_napi_busy_poll_seconds",
        "How long a wait for completions polls the NIC before it sleeps.",
        One(|queue| Some(queue.ring?.busy_poll?.as_secs_f64())),
    )
    .absent("it does not poll: not configured, or refused by the kernel as the log says"),
    Row::counter(
        "zcrx_receive_misplaced_connections_total",
        "Connections that arrive on a hardware queue that is none of zcrxd's: copied, or not received at all.",
        One(|queue| Some(queue.ring?.misplaced as f64)),
    ),
    Row::counter(
        "zcrx_receive_handed_over_connections_total",
        "Connections handed to the thread of another own queue, on which they arrive.",
        One(|queue| Some(queue.ring?.handed_over as f64)),
    ),
    Row::gauge(
        "zcrx_receive_sink_held_buffers",
        "Buffers that sinks hold because they have not done with their data yet.",
        One(|queue| Some(queue.ring?.backlog.held as f64)),
    ),
    Row::gauge(
        "zcrx_receive_sink_hold_limit_buffers",
        "So many of them, together, and data is copied out instead of being held.",
        One(|queue| Some(queue.ring?.backlog.hold_limit? as f64)),
    )
    .absent("hold_limit is as much as the area"),
    Row::counter(
        "zcrx_receive_sink_limit_reached_total",
        "Times that a connection reached its share of the held buffers, so that its data began to be copied out.",
        One(|queue| Some(queue.ring?.backlog.limit_reached as f64)),
    ),
    Row::counter(
        "zcrx_receive_copied_out_bytes_total",
        "Payload copied out of the area to ordinary memory because of a slow sink.",
        One(|queue| Some(queue.ring?.backlog.copied_out_bytes as f64)),
    ),
    Row::gauge(
        "zcrx_receive_copy_out_memory_bytes",
        "Memory in use by payload that was copied out.",
        One(|queue| Some(queue.ring?.backlog.copy_out_bytes as f64)),
    ),
    Row::gauge(
        "zcrx_receive_copy_out_memory_limit_bytes",
        "The most that may be in use.",
        One(|queue| Some(queue.ring?.backlog.copy_out_limit_bytes as f64)),
    ),
    Row::counter(
        "zcrx_receive_pauses_total",
        "Times that a connection was not received from any more until its slow sink had caught up.",
        One(|queue| Some(queue.ring?.backlog.pauses as f64)),
    ),
    Row::gauge(
        "zcrx_receive_paused_connections",
        "Connections that are not received from now, for that reason.",
        One(|queue| Some(queue.ring?.backlog.paused as f64)),
    ),
];

fn verified(queue: &ReceiveSample) -> bool {
    queue.sink == "verify"
}

fn by_errno(errors: &BTreeMap<i32, u64>, series: &mut Series<'_>) {
    for (errno, count) in errors {
        series.push(&[&errno_label(*errno)], *count as f64);
    }
}
