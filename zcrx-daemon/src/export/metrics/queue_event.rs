//! Metrics of events in the kernel: for each queue of any process, and for the host.

use super::table::Metric;
use super::table::Read::{Each, Moment, One};
use crate::model::{
    ControlCount, DeliveryCount, FallbackCount, KernelQueue, MICROSECONDS, NotificationCount, ProbeSample,
    QueueSample, ResidenceCount,
};
use crate::observe::errno_label;

const NO_DELIVERY: &str = "the delivery probe is not attached, or there is no snapshot";
const NO_COPY: &str = "the copy probe is not attached (Linux 6.18), or there is no snapshot";
const NO_CONTROL: &str = "the control probe is not attached (Linux 6.19), or there is no snapshot";
const NO_NOTIFICATION: &str = "the notification probe is not attached (Linux 7.2), or there is no snapshot";
const NO_RESIDENCE: &str =
    "probes.residence is off, the residence probe is not attached (Linux 6.18), or there is no snapshot";
const NO_PROBE: &str = "the probe is not attached";

type Row = Metric<QueueSample>;

pub(super) static EVENT: &[Row] = &[
    Row::counter(
        "zcrx_queue_receives_total",
        "Receive calls of the kernel on connections of the queue; one call moves up to 20 packets.",
        One(|queue| delivery(queue, |count| count.calls)),
    )
    .absent(NO_DELIVERY),
    Row::counter(
        "zcrx_queue_empty_receives_total",
        "Receive calls on connections of the queue that found nothing to receive.",
        One(|queue| delivery(queue, |count| count.empty)),
    )
    .absent(NO_DELIVERY),
    Row::counter(
        "zcrx_queue_receive_errors_total",
        "Receives on connections of the queue that ended with an error, by errno.",
        Each(&["errno"], |queue, series| {
            let errors = kernel(queue).and_then(|kernel| kernel.delivery.as_ref()).map(|count| &count.errors);
            for (&errno, &count) in errors.into_iter().flatten() {
                series.push(&[&errno_label(errno)], count as f64);
            }
        }),
    )
    .absent("no receive has ended with an error, or the delivery probe is not attached"),
    Row::counter(
        "zcrx_queue_received_bytes_total",
        "Payload in bytes delivered to the owner, copied or not, without the last part of a receive that failed.",
        One(|queue| delivery(queue, |count| count.bytes)),
    )
    .absent(NO_DELIVERY),
    Row::gauge(
        "zcrx_queue_last_receive_timestamp_seconds",
        "Unix time in seconds of the last receive call that delivered payload.",
        Moment(|queue| kernel(queue)?.delivery.as_ref()?.last),
    )
    .absent("no payload has been delivered since the delivery probe was attached"),
    Row::counter(
        "zcrx_queue_copies_total",
        "Fragments that the kernel copied because the NIC did not place them in the area. Rises where zero copy fails.",
        One(|queue| fallback(queue, |count| count.calls)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_queue_copy_failures_total",
        "Copies that failed because no buffer was free.",
        One(|queue| fallback(queue, |count| count.failures)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_queue_copied_bytes_total",
        "Payload in bytes that the kernel copied instead of the NIC placing it in the area.",
        One(|queue| fallback(queue, |count| count.bytes)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_queue_copied_buffers_total",
        "Buffers filled by copies of the kernel.",
        One(|queue| fallback(queue, |count| count.buffers)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_queue_control_calls_total",
        "Control calls on the queue by operation (flush_rq, export, arm_event, add_area, other) and errno (none on success).",
        Each(&["operation", "errno"], |queue, series| {
            let results = control(queue).map(|count| count.results.as_slice()).unwrap_or_default();
            for result in results {
                let errno = if result.errno == 0 { String::new() } else { errno_label(result.errno) };
                series.push(&[result.operation.name(), &errno], result.count as f64);
            }
        }),
    )
    .absent("no control call has been seen, or the control probe is not attached (Linux 6.19)"),
    Row::counter(
        "zcrx_queue_flushed_refill_entries_total",
        "Refill entries consumed by flush calls, beside those that allocations consumed.",
        One(|queue| Some(control(queue)?.flushed as f64)),
    )
    .absent(NO_CONTROL),
    Row::counter(
        "zcrx_queue_raised_notifications_total",
        "Number of times the kernel had a reason to notify the owner, by kind: alloc_fail, copy, other.",
        Each(&["notification"], |queue, series| {
            for count in notifications(queue) {
                series.push(&[count.kind.name()], count.raised as f64);
            }
        }),
    )
    .absent(NO_NOTIFICATION),
    Row::counter(
        "zcrx_queue_sent_notifications_total",
        "Notifications that the kernel sent because the owner had asked for them and armed them, by kind.",
        Each(&["notification"], |queue, series| {
            for count in notifications(queue) {
                series.push(&[count.kind.name()], count.sent as f64);
            }
        }),
    )
    .absent(NO_NOTIFICATION),
    Row::histogram(
        "zcrx_queue_residence_seconds",
        "Time in seconds from the delivery of a sampled buffer until the kernel took it from the refill ring.",
        &MICROSECONDS,
        |queue| Some(residence(queue)?.times),
    )
    .absent(NO_RESIDENCE),
    Row::counter(
        "zcrx_queue_residence_sampled_buffers_total",
        "Buffers sampled at their delivery for zcrx_queue_residence_seconds.",
        One(|queue| Some(residence(queue)?.sampled as f64)),
    )
    .absent(NO_RESIDENCE),
    Row::counter(
        "zcrx_queue_residence_unseen_buffers_total",
        "Sampled buffers whose return was not observed: flushed, freed with their packet, or never completed.",
        One(|queue| Some(residence(queue)?.unseen as f64)),
    )
    .absent(NO_RESIDENCE),
    Row::counter(
        "zcrx_queue_residence_lost_buffers_total",
        "Buffers not sampled because too many sampled buffers were still delivered.",
        One(|queue| Some(residence(queue)?.lost as f64)),
    )
    .absent(NO_RESIDENCE),
];

type Life = Metric<ProbeSample>;

pub(super) static LIFE: &[Life] = &[
    Life::counter(
        "zcrx_provider_pools_attached_total",
        "Page pools that took zcrx as their memory provider, since the probe was attached.",
        One(|probe| probe.lives.pools_begun.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_provider_pools_refused_total",
        "Page pools that zcrx refused as their memory provider, since the probe was attached.",
        One(|probe| probe.lives.pools_refused.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_provider_pools_freed_total",
        "Page pools with zcrx as their memory provider that were freed, since the probe was attached.",
        One(|probe| probe.lives.pools_ended.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_queues_freed_total",
        "zcrx queues that the kernel freed, those of failed registrations included, since the probe was attached.",
        One(|probe| probe.lives.queues_ended.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_rings_freed_total",
        "io_uring rings with zcrx queues that were torn down, since the probe was attached.",
        One(|probe| probe.lives.rings_ended.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_unmatched_control_calls_total",
        "Control calls that named a queue which their ring does not have. Rises with a bug of an application.",
        One(|probe| probe.lives.controls_astray.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
];

fn kernel(queue: &QueueSample) -> Option<&KernelQueue> {
    queue.kernel.as_deref()
}

fn delivery(queue: &QueueSample, read: fn(&DeliveryCount) -> u64) -> Option<f64> {
    Some(read(kernel(queue)?.delivery.as_ref()?) as f64)
}

fn fallback(queue: &QueueSample, read: fn(&FallbackCount) -> u64) -> Option<f64> {
    Some(read(kernel(queue)?.fallback.as_ref()?) as f64)
}

fn control(queue: &QueueSample) -> Option<&ControlCount> {
    kernel(queue)?.control.as_ref()
}

fn residence(queue: &QueueSample) -> Option<ResidenceCount> {
    kernel(queue)?.residence
}

fn notifications(queue: &QueueSample) -> impl Iterator<Item = &NotificationCount> {
    kernel(queue).and_then(|kernel| kernel.notifications.as_ref()).into_iter().flatten()
}
