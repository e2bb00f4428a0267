//! One alert for each kind of alarm that a queue can have.
//!
//! Each compares the time with the alarm within 5 minutes: a queue that starves for half of every minute harms its users
//! like one that starves without a break, and an alarm that cleared by itself pages no engineer.

use super::About::{self, Cause, Symptom};

/// An alert for one kind of alarm.
pub(super) struct Alarm {
    pub(super) name: &'static str,
    /// The value of the label `alarm`.
    pub(super) label: &'static str,
    pub(super) about: About,
    /// What the queue does, after its name.
    pub(super) what: &'static str,
    /// What happened and what it means, after "For 2m of the last 5 minutes".
    pub(super) description: &'static str,
}

pub(super) const ALARMS: &[Alarm] = &[
    Alarm {
        name: "ZcrxQueueStarving",
        label: "starving",
        about: Symptom,
        what: "is starved",
        description: "no buffer could be allocated: packets for the queue are lost or wait.",
    },
    Alarm {
        name: "ZcrxQueueStalled",
        label: "stalled",
        about: Symptom,
        what: "is stalled",
        description: "buffers were free and the kernel did not fetch them: packets for the queue are lost or wait.",
    },
    Alarm {
        name: "ZcrxQueueDroppingPackets",
        label: "dropping_packets",
        about: Symptom,
        what: "drops packets",
        description: "allocations kept failing and packets were dropped: senders retransmit, throughput falls.",
    },
    Alarm {
        name: "ZcrxQueueCopyLivelock",
        label: "copy_livelock",
        about: Symptom,
        what: "receives nothing: no buffer to copy into",
        description: "receives ended with ENOMEM, since payload must be copied and no buffer is free.",
    },
    Alarm {
        name: "ZcrxQueueMissteered",
        label: "missteered",
        about: Symptom,
        what: "loses connections",
        description: "receives ended with EFAULT: the payload of their flows lies in the buffers of another queue.",
    },
    Alarm {
        name: "ZcrxQueueSinkBlocked",
        label: "sink_blocked",
        about: Symptom,
        what: "receives nothing: its sink is blocked",
        description: "every connection was paused, since the destination of the sink reads nothing.",
    },
    Alarm {
        name: "ZcrxQueueInterfaceDown",
        label: "interface_down",
        about: Symptom,
        what: "receives nothing: its interface is down",
        description: "the queue was registered without a page pool: the interface, or its receive queue, is down.",
    },
    Alarm {
        name: "ZcrxQueueCqExhausted",
        label: "cq_exhausted",
        about: Cause,
        what: "has no room for completions",
        description: "receives ended with ENOSPC: payload stays in the sockets until the application arms a receive again.",
    },
    Alarm {
        name: "ZcrxQueueRefillOverflow",
        label: "refill_overflow",
        about: Cause,
        what: "cannot take buffers back",
        description: "returned buffers found no room in the refill ring.",
    },
    Alarm {
        name: "ZcrxQueueEntriesRejected",
        label: "entries_rejected",
        about: Cause,
        what: "loses refill entries",
        description: "the kernel discarded refill entries that it could not use: the owner has a bug, and the queue can starve.",
    },
    Alarm {
        name: "ZcrxQueueLeaking",
        label: "leaking",
        about: Cause,
        what: "leaks buffers",
        description: "the number of buffers that the owner holds only grew: the queue will starve.",
    },
    Alarm {
        name: "ZcrxQueuePinned",
        label: "pinned",
        about: Cause,
        what: "is gone, but its memory is not",
        description: "the page pool of the removed queue was waiting for buffers that are still in use.",
    },
];
