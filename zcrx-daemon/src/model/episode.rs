//! Causes, what speaks for them, and the time in which a queue starved.

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
    /// Data waits in sockets that no receive is armed for.
    UnreadSocketData,
    /// The area cannot cover what is posted and on its way.
    AreaTooSmall,
    /// The refill ring has no room for what the owner returns.
    RefillRingFull,
    /// The owner does not return buffers.
    NeverReturned,
    /// Refill entries return fragments of buffers whose other fragments are still out.
    FragmentPinning,
    /// Refill entries that the kernel throws away: wrong offset, wrong area, returned twice.
    BadEntries,
    /// Refill entries wait, and nothing in the kernel comes to consume them.
    LazyConsumption,
    /// The kernel copies, and finds no buffer to copy into.
    CopyFallback,
    /// The completion queue has no room.
    CqExhaustion,
    /// Data of a flow lies in the buffers of another queue.
    MissteeredFlow,
    /// There is no device that would consume the refill ring by itself.
    NoDevice,
    /// The queue is gone, but buffers of it are still out.
    PinnedAfterTeardown,
    /// The thread that must receive does not run: stopped, traced, frozen, throttled, without a CPU, waiting for a disk.
    OwnerNotRunning,
    /// The destination of zcrxd's sink does not take what is received.
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

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// It would explain what is seen; so would something else.
    Low,
    /// It explains what is seen better than the others do.
    Medium,
    /// Its signature is there, and what would speak against it is not.
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

    /// One step less sure.
    #[must_use]
    pub const fn lower(self) -> Self {
        match self {
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }
}

/// One cause that fits what was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The cause.
    pub cause: Cause,
    /// How sure.
    pub confidence: Confidence,
    /// How much of the trouble it explains, 0 to 1; for most causes the share of the area it keeps away.
    pub effect: f64,
    /// What speaks for it, in words with numbers.
    pub evidence: Vec<String>,
    /// What speaks against it, in words with numbers.
    pub against: Vec<String>,
    /// What to do.
    pub remedy: String,
}

/// What is wrong with a queue, as anybody can see from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// The NIC (or the software queue) asks for buffers and gets none.
    Starving,
    /// The last allocation failed; buffers are there again, and nothing fetches them.
    Stalled,
    /// Allocations keep failing between successes, and packets are dropped.
    DroppingPackets,
    /// Receives keep ending because the copy fallback finds no buffer.
    CopyLivelock,
    /// Returned buffers do not fit into the refill ring.
    RefillOverflow,
    /// The kernel throws refill entries away.
    EntriesRejected,
    /// What user space holds only grows.
    Leaking,
    /// Completions do not fit into the completion queue.
    CqExhausted,
    /// Receives end because their data is in another queue's buffers.
    Missteered,
    /// zcrxd's sink takes nothing, and the connections that feed it are paused.
    SinkBlocked,
    /// The interface is down.
    InterfaceDown,
    /// The queue's page pool cannot go.
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

    /// One word for the first line of a verdict.
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

    /// What it means, in a few words.
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

/// A trouble that lasted long enough to be told to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// What is wrong.
    pub trouble: Trouble,
    /// Since when, CLOCK_MONOTONIC.
    pub since: Duration,
    /// When it was last seen, CLOCK_MONOTONIC.
    pub last: Duration,
    /// How it was seen, in words with numbers.
    pub words: String,
}

/// What a window of samples tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// What is wrong, worst first; empty while the queue does what it should.
    pub alarms: Vec<Alarm>,
    /// Causes that fit, the one with the greatest effect first. With an alarm and no cause, the cause is unknown.
    pub causes: Vec<Finding>,
    /// Figures that were not to be had and that would have helped to tell, in words.
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
    /// Which queue.
    pub key: QueueKey,
    /// Which life of it.
    pub generation: u64,
    /// Whom it belongs to.
    pub owner: Option<Owner>,
    /// Begin, CLOCK_MONOTONIC.
    pub began: Duration,
    /// When it was noticed, CLOCK_MONOTONIC.
    pub noticed: Duration,
    /// End, CLOCK_MONOTONIC: the moment from which buffers flowed again. `None` while it lasts.
    pub ended: Option<Duration>,
    /// What is wrong, worst first.
    pub trouble: Trouble,
    /// The last diagnosis made while it lasted; its first cause is the episode's.
    pub diagnosis: Diagnosis,
    /// Allocations that failed meanwhile; `None` where they are not counted.
    pub failed_allocations: Option<u64>,
    /// Payload received meanwhile, bytes; `None` where it is not counted.
    pub bytes: Option<u64>,
    /// Packets dropped meanwhile; `None` where they are not counted.
    pub drops: Option<u64>,
    /// How its cause changed, oldest first, bounded.
    #[serde(default)]
    pub history: Vec<CauseChange>,
}

/// Another cause came first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseChange {
    /// When, CLOCK_MONOTONIC.
    pub at: Duration,
    /// The cause until then; `None` if it was unknown.
    pub from: Option<Cause>,
    /// The cause from then on.
    pub to: Cause,
    /// Why.
    pub why: String,
}

impl Episode {
    /// Its cause; `None` if that is unknown.
    pub fn cause(&self) -> Option<Cause> {
        self.diagnosis.cause().map(|finding| finding.cause)
    }

    /// How long it has lasted by then.
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
