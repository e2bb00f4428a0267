//! Counts of event probes: for one queue since its first event, for the host since zcrxd attached the probes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;

/// Data that a queue delivered to its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryCount {
    /// Receive calls: one moves up to 20 packets of one connection.
    pub calls: u64,
    /// Part of `calls` that found nothing to receive.
    pub empty: u64,
    /// Payload, bytes, copied or not.
    pub bytes: u64,
    /// Kernel time of the last call that received something.
    pub last: Option<Duration>,
    /// Receives that ended with an error, by positive errno.
    pub errors: BTreeMap<i32, u64>,
}

/// Payload that the kernel copied into a queue's buffers, because the NIC had not placed it there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackCount {
    /// Calls: one copies one fragment of a packet.
    pub calls: u64,
    /// Calls that copied nothing.
    pub failures: u64,
    /// Part of `failures` that found no free buffer, or a dmabuf area (`ENOMEM`).
    #[serde(default)]
    pub no_buffer: Option<u64>,
    /// Part of `failures` that found the completion queue full (`ENOSPC`).
    #[serde(default)]
    pub cq_full: Option<u64>,
    /// Calls that copied less than the fragment, for one of the same two reasons.
    #[serde(default)]
    pub partial: Option<u64>,
    /// Payload, bytes.
    pub bytes: u64,
    /// Buffers filled, the last one of each call perhaps in part.
    pub buffers: u64,
}

/// Residence of sampled buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResidenceCount {
    /// Buffers that were sampled at their delivery.
    pub sampled: u64,
    /// Part of `sampled` that the kernel got back in a way that the probe does not see, at an unknown time.
    pub unseen: u64,
    /// Buffers that the probe did not sample because its map was full.
    pub lost: u64,
    /// Residence of buffers whose return the probe saw, microseconds.
    pub times: Histogram,
}

/// Control calls of a queue's owner. Linux 6.19.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlCount {
    /// Calls by operation and result.
    pub results: Vec<ControlResult>,
    /// Refill entries that flushes consumed, in addition to those that allocations consumed.
    pub flushed: u64,
}

/// Control calls of one operation with one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ControlResult {
    /// The operation.
    pub operation: ControlOperation,
    /// 0, or the positive errno.
    pub errno: i32,
    /// Calls.
    pub count: u64,
}

/// `enum zcrx_ctrl_op`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlOperation {
    /// Consume the refill ring now. Linux 6.19.
    FlushRq,
    /// Make a descriptor of the queue. Linux 6.19.
    Export,
    /// Notify again. Linux 7.2.
    ArmEvent,
    /// Add an area. Linux 7.3.
    AddArea,
    /// An operation that is newer than zcrxd, or that zcrxd could not read.
    Other,
}

impl ControlOperation {
    /// The name used in metrics and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FlushRq => "flush_rq",
            Self::Export => "export",
            Self::ArmEvent => "arm_event",
            Self::AddArea => "add_area",
            Self::Other => "other",
        }
    }
}

/// Notifications of one kind. Linux 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationCount {
    /// Kind of notification.
    pub kind: NotificationKind,
    /// Times that the kernel had a reason to notify.
    pub raised: u64,
    /// Part of these that the owner got: it had armed the kind, and had not been notified since.
    pub sent: u64,
}

/// `enum zcrx_event_type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// An allocation failed.
    AllocFail,
    /// Data was copied.
    Copy,
    /// A kind that is newer than zcrxd.
    Other,
}

impl NotificationKind {
    /// The name used in metrics and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllocFail => "alloc_fail",
            Self::Copy => "copy",
            Self::Other => "other",
        }
    }
}

/// Begins and ends since zcrxd attached the probes. `None` where the probe is not attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lives {
    /// Page pools that took zcrx as their provider.
    pub pools_begun: Option<u64>,
    /// Page pools that were refused.
    pub pools_refused: Option<u64>,
    /// Page pools with zcrx as their provider that were freed.
    pub pools_ended: Option<u64>,
    /// Interface queues that were freed, those of failed registrations among them.
    pub queues_ended: Option<u64>,
    /// Rings with queues that were torn down.
    pub rings_ended: Option<u64>,
    /// Control calls that named a queue which their ring does not have.
    pub controls_astray: Option<u64>,
}
