//! Metrics of what happened to each queue in the kernel, whoever owns it, as the event probes counted it.

use super::table::Metric;
use super::table::Read::{Each, One};
use crate::model::{
    ControlCount, DeliveryCount, FallbackCount, KernelQueue, MICROSECONDS, NotificationCount, ProbeSample,
    QueueSample, ResidenceCount,
};
use crate::observe::errno_label;

const NO_DELIVERY: &str = "the delivery probe is not attached, or there is no snapshot";
const NO_COPY: &str = "the copy probe is not attached (Linux 6.18), or there is no snapshot";
const NO_CONTROL: &str = "the control probe is not attached (Linux 6.19), or there is no snapshot";
const NO_NOTIFICATION: &str = "the notification probe is not attached (Linux 7.2), or there is no snapshot";
const NO_RESIDENCE: &str = "nobody asked for it (probes.residence), the residence probe is not attached (Linux 6.18), or there is no snapshot";
const NO_PROBE: &str = "the probe is not attached";

type Row = Metric<QueueSample>;

pub(super) static EVENT: &[Row] = &[
    Row::counter(
        "zcrx_ifq_receives_total",
        "Receive calls on connections of the queue; one moves up to 20 packets.",
        One(|queue| delivery(queue, |count| count.calls)),
    )
    .absent(NO_DELIVERY),
    Row::counter(
        "zcrx_ifq_receives_empty_total",
        "Of these, calls that found nothing to receive.",
        One(|queue| delivery(queue, |count| count.empty)),
    )
    .absent(NO_DELIVERY),
    Row::counter(
        "zcrx_ifq_receive_errors_total",
        "Receives that ended with an error.",
        Each(&["errno"], |queue, series| {
            let errors = kernel(queue).and_then(|kernel| kernel.delivery.as_ref()).map(|count| &count.errors);
            for (&errno, &count) in errors.into_iter().flatten() {
                series.push(&[&errno_label(errno)], count as f64);
            }
        }),
    )
    .absent("no receive has ended with an error yet, or the delivery probe is not attached"),
    Row::counter(
        "zcrx_ifq_received_bytes_total",
        "Payload delivered to the owner, copied or not; not what a receive that ended with an error had delivered by then.",
        One(|queue| delivery(queue, |count| count.bytes)),
    )
    .absent(NO_DELIVERY),
    Row::gauge(
        "zcrx_ifq_last_receive_age_seconds",
        "Time since a call last received something.",
        One(|queue| {
            let last = kernel(queue)?.delivery.as_ref()?.last?;
            Some(queue.at.saturating_sub(last).as_secs_f64())
        }),
    )
    .absent("no call has received anything since the delivery probe was attached"),
    Row::counter(
        "zcrx_ifq_copies_total",
        "Calls of the copy fallback: fragments that the NIC did not place in the area.",
        One(|queue| fallback(queue, |count| count.calls)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_ifq_copy_failures_total",
        "Of these, calls that copied nothing, for want of a free buffer.",
        One(|queue| fallback(queue, |count| count.failures)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_ifq_copied_bytes_total",
        "Payload copied.",
        One(|queue| fallback(queue, |count| count.bytes)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_ifq_copied_buffers_total",
        "Buffers that copies filled.",
        One(|queue| fallback(queue, |count| count.buffers)),
    )
    .absent(NO_COPY),
    Row::counter(
        "zcrx_ifq_controls_total",
        "Control calls by operation (flush_rq, export, arm_event, add_area, other) and errno (left out on success).",
        Each(&["operation", "errno"], |queue, series| {
            let results = control(queue).map(|count| count.results.as_slice()).unwrap_or_default();
            for result in results {
                let errno = if result.errno == 0 { String::new() } else { errno_label(result.errno) };
                series.push(&[result.operation.name(), &errno], result.count as f64);
            }
        }),
    )
    .absent("no control call seen yet, or the control probe is not attached (Linux 6.19)"),
    Row::counter(
        "zcrx_ifq_refill_entries_flushed_total",
        "Refill entries consumed by flushes, beside those that allocations consumed.",
        One(|queue| Some(control(queue)?.flushed as f64)),
    )
    .absent(NO_CONTROL),
    Row::counter(
        "zcrx_ifq_notifications_raised_total",
        "Times that the kernel had reason to notify the owner (alloc_fail, copy, other).",
        Each(&["notification"], |queue, series| {
            for count in notifications(queue) {
                series.push(&[count.kind.name()], count.raised as f64);
            }
        }),
    )
    .absent(NO_NOTIFICATION),
    Row::counter(
        "zcrx_ifq_notifications_sent_total",
        "Of these, notifications that the owner had asked for and not had since it last armed them.",
        Each(&["notification"], |queue, series| {
            for count in notifications(queue) {
                series.push(&[count.kind.name()], count.sent as f64);
            }
        }),
    )
    .absent(NO_NOTIFICATION),
    Row::histogram(
        "zcrx_ifq_residence_seconds",
        "How long sampled buffers were out: from the first completion that dispensed one until the kernel took it out of the \
         refill ring into the page pool.",
        &MICROSECONDS,
        |queue| Some(residence(queue)?.times),
    )
    .absent(NO_RESIDENCE),
    Row::counter(
        "zcrx_ifq_residence_sampled_total",
        "Buffers that were sampled when they were dispensed.",
        One(|queue| Some(residence(queue)?.sampled as f64)),
    )
    .absent(NO_RESIDENCE),
    Row::counter(
        "zcrx_ifq_residence_unseen_total",
        "Of these, buffers that came back unseen (by a flush, with their packet), or whose completion found no room.",
        One(|queue| Some(residence(queue)?.unseen as f64)),
    )
    .absent(NO_RESIDENCE),
    Row::counter(
        "zcrx_ifq_residence_lost_total",
        "Buffers that would have been sampled, had there been room for more of them at one time.",
        One(|queue| Some(residence(queue)?.lost as f64)),
    )
    .absent(NO_RESIDENCE),
];

type Life = Metric<ProbeSample>;

pub(super) static LIFE: &[Life] = &[
    Life::counter(
        "zcrx_provider_pools_begun_total",
        "Page pools that took zcrx as their provider, since the probe was attached.",
        One(|probe| probe.lives.pools_begun.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_provider_pools_refused_total",
        "Page pools that asked for zcrx as their provider and were refused.",
        One(|probe| probe.lives.pools_refused.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_provider_pools_ended_total",
        "Page pools with zcrx as their provider that were freed.",
        One(|probe| probe.lives.pools_ended.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_queues_ended_total",
        "Interface queues that were freed, those of failed registrations among them.",
        One(|probe| probe.lives.queues_ended.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_rings_ended_total",
        "Rings with interface queues that were torn down.",
        One(|probe| probe.lives.rings_ended.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
    Life::counter(
        "zcrx_controls_astray_total",
        "Control calls that named a queue which their ring does not have.",
        One(|probe| probe.lives.controls_astray.map(|count| count as f64)),
    )
    .absent(NO_PROBE),
];

const fn kernel(queue: &QueueSample) -> Option<&KernelQueue> {
    queue.kernel.as_ref()
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
