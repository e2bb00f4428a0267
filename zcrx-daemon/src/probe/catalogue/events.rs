//! Probes of what happens to queues: receives, copies, control calls, notifications; and what a sample says of their counts.

use std::time::Duration;

use zcrx_common::event::Events;

use super::{Alternative, Expected, Function, Hook, Probe, Program, on_function};
use crate::model::{
    ControlCount, ControlOperation, ControlResult, DeliveryCount, FallbackCount, KernelQueue, Mechanism,
    NotificationCount, NotificationKind,
};

/// The probes of this file. One that works together with another comes after it.
pub(super) const PROBES: &[Probe] = &[DELIVERY_PROBE, COPY_PROBE, CONTROL_PROBE, NOTIFICATION_PROBE];

/// Fills in what a probe counted of a queue.
pub(in crate::probe) type Fill = fn(&mut KernelQueue, &Events);

/// How each probe of this file does so.
pub(in crate::probe) const FILLS: &[(&str, Fill)] = &[
    (DELIVERY, |queue, events| queue.delivery = Some(delivery(events))),
    (COPY, |queue, events| queue.fallback = Some(fallback(events))),
    (CONTROL, |queue, events| queue.control = Some(control(events))),
    (NOTIFICATION, |queue, events| queue.notifications = Some(notifications(events))),
];

pub(in crate::probe) const DELIVERY: &str = "delivery";
pub(in crate::probe) const COPY: &str = "copy";
pub(in crate::probe) const CONTROL: &str = "control";
pub(in crate::probe) const NOTIFICATION: &str = "notification";

/// `int f(struct io_kiocb *req, struct io_zcrx_ifq *ifq, struct socket *sock, unsigned flags, unsigned issue_flags,
/// unsigned *len)`
const RECEIVE: &[Function] = &[Function {
    name: "io_zcrx_recv",
    kernels: "6.15 and later",
    parameters: &[
        Expected::Structure("io_kiocb"),
        Expected::Structure("io_zcrx_ifq"),
        Expected::Structure("socket"),
        Expected::Integer(4),
        Expected::Integer(4),
        Expected::Pointer,
    ],
    result: Expected::Integer(4),
    variants: false,
}];

/// `ssize_t f(struct io_kiocb *req, struct io_zcrx_ifq *ifq, struct page *src_page, unsigned src_offset, size_t len)`
const COPY_CHUNK: &[Function] = &[Function {
    name: "io_zcrx_copy_chunk",
    kernels: "6.18 and later",
    parameters: &[
        Expected::Structure("io_kiocb"),
        Expected::Structure("io_zcrx_ifq"),
        Expected::Structure("page"),
        Expected::Integer(4),
        Expected::Integer(8),
    ],
    result: Expected::Integer(8),
    variants: false,
}];

/// `int f(struct io_ring_ctx *ctx, void __user *arg, unsigned nr_args)`
const CTRL: &[Function] = &[Function {
    name: "io_zcrx_ctrl",
    kernels: "6.19 and later",
    parameters: &[Expected::Structure("io_ring_ctx"), Expected::Pointer, Expected::Integer(4)],
    result: Expected::Integer(4),
    variants: false,
}];

/// `void f(struct io_zcrx_ifq *ifq, unsigned type)`
const NOTIFY: &[Function] = &[Function {
    name: "zcrx_send_notif",
    kernels: "7.2 and later",
    parameters: &[Expected::Structure("io_zcrx_ifq"), Expected::Integer(4)],
    result: Expected::Nothing,
    variants: false,
}];

const DELIVERY_PROBE: Probe = Probe {
    name: DELIVERY,
    tells: "what each queue delivers to its owner: receive calls, bytes, when last, and how receives end",
    lost_without: "how much other programs receive, and why their receives end",
    needs: &["socket_sock", "sock_flags", "tcp_copied_seq", "tcp_rcv_nxt"],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        RECEIVE,
        trampolines: [exit "delivery_fexit", entry "delivery_fentry"],
        kprobes: [exit "delivery_kretprobe", entry "delivery_kprobe"]
    ),
};

const COPY_PROBE: Probe = Probe {
    name: COPY,
    tells: "what the kernel copies because the NIC did not place it in the area: calls, bytes, buffers, failures",
    lost_without: "whether other programs get zero copy at all, and copies that fail",
    needs: &[],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        COPY_CHUNK,
        trampolines: [exit "copy_fexit"],
        kprobes: [exit "copy_kretprobe", entry "copy_kprobe"]
    ),
};

const CONTROL_PROBE: Probe = Probe {
    name: CONTROL,
    tells: "control calls by operation and errno, and refill entries that flushes consumed",
    lost_without: "who flushes, exports, arms events and adds areas, and how that ends",
    needs: &["ring_queues", "xa_node_shift", "xa_node_slots", "ifq_cached_head"],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        CTRL,
        trampolines: [exit "control_fexit", entry "control_fentry"],
        kprobes: [exit "control_kretprobe", entry "control_kprobe"]
    ),
};

const NOTIFICATION_PROBE: Probe = Probe {
    name: NOTIFICATION,
    tells: "notifications that the kernel had reason for, and those that owners got, by kind",
    lost_without: "whether owners could know of failed allocations and of copies",
    needs: &["ifq_notifications_asked", "ifq_notifications_sent"],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        NOTIFY,
        trampolines: [entry "notification_fentry"],
        kprobes: [entry "notification_kprobe"]
    ),
};

fn delivery(events: &Events) -> DeliveryCount {
    let errors = events.errors.iter().filter(|error| error.code != 0);
    DeliveryCount {
        calls: events.receives,
        empty: events.receives_empty,
        bytes: events.received_bytes,
        last: (events.received_ns != 0).then(|| Duration::from_nanos(events.received_ns)),
        errors: errors.map(|error| (error.code as i32, error.count)).collect(),
    }
}

const fn fallback(events: &Events) -> FallbackCount {
    FallbackCount {
        calls: events.copies,
        failures: events.copies_failed,
        bytes: events.copied_bytes,
        buffers: events.copied_buffers,
        no_buffer: Some(events.copies_without_buffer),
        cq_full: Some(events.copies_without_completion),
        partial: Some(events.copies_partial),
    }
}

fn control(events: &Events) -> ControlCount {
    let seen = events.controls.iter().filter(|outcome| outcome.code != 0);
    let mut results: Vec<_> = seen
        .map(|outcome| {
            let (operation, errno) = outcome.operation();
            let operation = match operation {
                0 => ControlOperation::FlushRq,
                1 => ControlOperation::Export,
                2 => ControlOperation::ArmEvent,
                3 => ControlOperation::AddArea,
                _ => ControlOperation::Other,
            };
            ControlResult { operation, errno: errno as i32, count: outcome.count }
        })
        .collect();
    results.sort_unstable();
    ControlCount { results, flushed: events.flushed }
}

fn notifications(events: &Events) -> Vec<NotificationCount> {
    let kinds = [
        NotificationKind::AllocFail,
        NotificationKind::Copy,
        NotificationKind::Other,
        NotificationKind::Other,
    ];
    let counts = events.raised.iter().zip(events.notified).zip(kinds);
    counts
        .map(|((&raised, sent), kind)| NotificationCount { kind, raised, sent })
        .filter(|count| count.raised > 0 || count.kind != NotificationKind::Other)
        .collect()
}
