//! Causes, their evidence, and episodes: the times in which a queue starved.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Owner, QueueKey};

/// Why a queue starves, or receives less than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The owner holds buffers, or leaves completions unread, for too long.
    SlowConsumer,
    /// Data waits in sockets on which no receive is armed.
    UnreadSocketData,
    /// The area has fewer buffers than the NIC's ring and the data in flight need.
    AreaTooSmall,
    /// The refill ring has no room for the entries that the owner returns.
    RefillRingFull,
    /// The owner does not return buffers.
    NeverReturned,
    /// Refill entries return fragments of buffers whose other fragments user space still holds.
    FragmentPinning,
    /// The kernel discards refill entries: wrong offset, wrong area, returned twice.
    BadEntries,
    /// Refill entries wait, and NAPI is not rescheduled to consume them.
    LazyConsumption,
    /// The kernel copies, and finds no buffer to copy into.
    CopyFallback,
    /// The completion queue has no room.
    CqExhaustion,
    /// Data of a flow lies in the buffers of another queue.
    MissteeredFlow,
    /// The queue has no device whose allocations consume the refill ring.
    NoDevice,
    /// The queue is gone, but sockets or processes still hold its buffers.
    PinnedAfterTeardown,
    /// The thread that must receive does not run: stopped, traced, frozen, throttled, without a CPU, waiting for a disk.
    OwnerNotRunning,
    /// The destination of zcrxd's sink does not read.
    SinkBlocked,
    /// Most payload is copied: it does not arrive in the area.
    NoZeroCopy,
    /// The interface is down: its page pool is detached until it comes back.
    InterfaceDown,
}

impl Cause {
    /// Every cause, in the order of their letters.
    pub const ALL: [Self; 17] = [
        Self::SlowConsumer,
        Self::UnreadSocketData,
        Self::AreaTooSmall,
        Self::RefillRingFull,
        Self::NeverReturned,
        Self::FragmentPinning,
        Self::BadEntries,
        Self::LazyConsumption,
        Self::CopyFallback,
        Self::CqExhaustion,
        Self::MissteeredFlow,
        Self::NoDevice,
        Self::PinnedAfterTeardown,
        Self::OwnerNotRunning,
        Self::SinkBlocked,
        Self::NoZeroCopy,
        Self::InterfaceDown,
    ];

    /// The name used in metrics, in JSON and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::UnreadSocketData => "unread_socket_data",
            Self::AreaTooSmall => "area_too_small",
            Self::RefillRingFull => "refill_ring_full",
            Self::NeverReturned => "never_returned",
            Self::FragmentPinning => "fragment_pinning",
            Self::BadEntries => "bad_entries",
            Self::LazyConsumption => "lazy_consumption",
            Self::CopyFallback => "copy_fallback",
            Self::CqExhaustion => "cq_exhaustion",
            Self::MissteeredFlow => "missteered_flow",
            Self::NoDevice => "no_device",
            Self::PinnedAfterTeardown => "pinned_after_teardown",
            Self::OwnerNotRunning => "owner_not_running",
            Self::SinkBlocked => "sink_blocked",
            Self::NoZeroCopy => "no_zero_copy",
            Self::InterfaceDown => "interface_down",
        }
    }

    /// Its letter in `docs/causes.md`; newer causes have a name only.
    pub const fn letter(self) -> Option<char> {
        if (self as u8) <= Self::PinnedAfterTeardown as u8 { Some((b'A' + self as u8) as char) } else { None }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Confidence in a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// The cause is possible; another cause explains the samples as well.
    Low,
    /// The cause explains the samples better than the others.
    Medium,
    /// The cause's signature is present, and no evidence contradicts it.
    High,
}

impl Confidence {
    /// The name used in metrics, in JSON and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Returns the next lower confidence.
    #[must_use]
    pub const fn lower(self) -> Self {
        match self {
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }
}

/// One cause that fits the samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The cause.
    pub cause: Cause,
    /// Confidence in it.
    pub confidence: Confidence,
    /// Contribution: the share of the problem that the cause explains, 0 to 1. For most causes this is the share of the
    /// area's buffers that it keeps from the NIC.
    pub effect: f64,
    /// Evidence for the cause: phrases with numbers.
    pub evidence: Vec<String>,
    /// Evidence against the cause: phrases with numbers.
    pub against: Vec<String>,
    /// What the user should do.
    pub remedy: String,
}

/// Kinds of problem, as symptoms that samples show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The NIC (or the software queue) asks for buffers and gets none.
    Starving,
    /// The last allocation failed; buffers are allocatable again, and the kernel does not allocate them.
    Stalled,
    /// Allocations keep failing between successes, and packets are dropped.
    DroppingPackets,
    /// Receives keep ending because the copy fallback finds no buffer.
    CopyLivelock,
    /// Returned buffers do not fit into the refill ring.
    RefillOverflow,
    /// The kernel discards refill entries.
    EntriesRejected,
    /// The number of buffers that user space holds only grows.
    Leaking,
    /// Completions do not fit into the completion queue.
    CqExhausted,
    /// Receives end because their data is in another queue's buffers.
    Missteered,
    /// zcrxd's sink takes no data, and its connections are paused.
    SinkBlocked,
    /// The interface is down.
    InterfaceDown,
    /// The kernel cannot free the queue's page pool.
    Pinned,
    /// Payload is copied instead of being placed in the area.
    NotZeroCopy,
}

impl Trouble {
    /// Every kind, for metrics that have a series for each.
    pub const ALL: [Self; 13] = [
        Self::Starving,
        Self::DroppingPackets,
        Self::Stalled,
        Self::CopyLivelock,
        Self::RefillOverflow,
        Self::EntriesRejected,
        Self::Leaking,
        Self::CqExhausted,
        Self::Missteered,
        Self::SinkBlocked,
        Self::InterfaceDown,
        Self::Pinned,
        Self::NotZeroCopy,
    ];

    /// The name used in metrics, in JSON and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starving => "starving",
            Self::DroppingPackets => "dropping_packets",
            Self::Stalled => "stalled",
            Self::CopyLivelock => "copy_livelock",
            Self::RefillOverflow => "refill_overflow",
            Self::EntriesRejected => "entries_rejected",
            Self::Leaking => "leaking",
            Self::CqExhausted => "cq_exhausted",
            Self::Missteered => "missteered",
            Self::SinkBlocked => "sink_blocked",
            Self::InterfaceDown => "interface_down",
            Self::Pinned => "pinned",
            Self::NotZeroCopy => "not_zero_copy",
        }
    }

    /// Returns the headline for the first line of a verdict.
    pub const fn headline(self) -> &'static str {
        match self {
            Self::Starving => "STARVED",
            Self::Stalled => "STALLED",
            Self::DroppingPackets => "DROPPING",
            Self::CopyLivelock => "COPY LIVELOCK",
            Self::RefillOverflow => "REFILL OVERFLOW",
            Self::EntriesRejected => "ENTRIES REJECTED",
            Self::Leaking => "LEAKING",
            Self::CqExhausted => "CQ FULL",
            Self::Missteered => "MISSTEERED",
            Self::SinkBlocked => "SINK BLOCKED",
            Self::InterfaceDown => "INTERFACE DOWN",
            Self::Pinned => "PINNED",
            Self::NotZeroCopy => "NOT ZERO-COPY",
        }
    }

    /// Returns a short explanation, to follow "queue NAME:".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Starving => "starved: the NIC asks for buffers and gets none",
            Self::Stalled => "stalled: buffers wait, and the kernel does not fetch them",
            Self::DroppingPackets => "dropping packets: allocations keep failing",
            Self::CopyLivelock => "in a livelock: copies keep failing because no buffer is free",
            Self::RefillOverflow => "overflowing: returned buffers do not fit into the refill ring",
            Self::EntriesRejected => "losing refill entries: the kernel cannot use them",
            Self::Leaking => "leaking: what the owner holds only grows",
            Self::CqExhausted => "blocked: the completion queue is full",
            Self::Missteered => "losing connections: their data is in another queue's buffers",
            Self::SinkBlocked => "blocked: the sink's destination does not read",
            Self::InterfaceDown => "down: the interface receives nothing",
            Self::Pinned => "gone, but its buffers are still in use",
            Self::NotZeroCopy => "copying: the payload is not placed in the area",
        }
    }
}

/// A problem that has lasted long enough for an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Kind of problem.
    pub trouble: Trouble,
    /// Since when, CLOCK_MONOTONIC.
    pub since: Duration,
    /// When it was last seen, CLOCK_MONOTONIC.
    pub last: Duration,
    /// The observation that raised the alarm: a phrase with numbers.
    pub words: String,
}

/// Alarms and causes of one window of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Problems, worst first; empty while the queue is healthy.
    pub alarms: Vec<Alarm>,
    /// Causes that fit, the one with the largest contribution first. With an alarm and no cause, the cause is unknown.
    pub causes: Vec<Finding>,
    /// Unknown figures that would help to find the cause, as text.
    pub missing: Vec<String>,
}

impl Diagnosis {
    /// The first cause.
    pub fn cause(&self) -> Option<&Finding> {
        self.causes.first()
    }
}

/// A time in which a queue starved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Episode {
    /// The queue.
    pub key: QueueKey,
    /// The queue's generation: each new registration begins another.
    pub generation: u64,
    /// The queue's owner.
    pub owner: Option<Owner>,
    /// Begin, CLOCK_MONOTONIC.
    pub began: Duration,
    /// When zcrxd noticed the episode, CLOCK_MONOTONIC.
    pub noticed: Duration,
    /// End, CLOCK_MONOTONIC: the moment from which buffers flowed again. `None` while the episode lasts.
    pub ended: Option<Duration>,
    /// The worst problem of the episode.
    pub trouble: Trouble,
    /// The last diagnosis of the episode; its first cause is the episode's cause.
    pub diagnosis: Diagnosis,
    /// Allocations that failed meanwhile; `None` where they are not counted.
    pub failed_allocations: Option<u64>,
    /// Payload received meanwhile, bytes; `None` where it is not counted.
    pub bytes: Option<u64>,
    /// Packets dropped meanwhile; `None` where they are not counted.
    pub drops: Option<u64>,
    /// Changes of the first cause, oldest first, bounded.
    #[serde(default)]
    pub history: Vec<CauseChange>,
}

/// A change of an episode's first cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseChange {
    /// When, CLOCK_MONOTONIC.
    pub at: Duration,
    /// The first cause before the change; `None` if it was unknown.
    pub from: Option<Cause>,
    /// The first cause after the change.
    pub to: Cause,
    /// Reason of the change.
    pub why: String,
}

impl Episode {
    /// Its cause; `None` if that is unknown.
    pub fn cause(&self) -> Option<Cause> {
        self.diagnosis.cause().map(|finding| finding.cause)
    }

    /// Duration until the episode's end, or until `now` while the episode lasts.
    pub fn lasted(&self, now: Duration) -> Duration {
        self.ended.unwrap_or(now).saturating_sub(self.began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_names_are_those_of_the_documentation() {
        let letters: String = Cause::ALL.iter().filter_map(|cause| cause.letter()).collect();
        assert_eq!(letters, "ABCDEFGHIJKLM");
        assert_eq!(Cause::PinnedAfterTeardown.letter(), Some('M'));
    }

    #[test]
    fn json_says_the_names() -> Result<(), serde_json::Error> {
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_value(cause)?, cause.name());
        }
        Ok(())
    }
}
