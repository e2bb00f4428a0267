//! What is true of a queue of the model: written down where it happens, and never shown to the rules.

use super::Queue;
use crate::model::Cause;

/// What took buffers away so far, and what was lost because of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Buffers that the owner lost without a refill entry.
    pub leaked: u64,
    /// Buffers whose refill entry found no room and was dropped.
    pub dropped_returns: u64,
    /// Buffers whose refill entry the kernel threw away.
    pub bad: u64,
    /// Refill entries that the owner published.
    pub returned: u64,
    /// Packets that found no posted buffer.
    pub packets_lost: u64,
    /// Milliseconds in which packets were lost.
    pub losing_ms: u64,
    /// Receives that ended with an error.
    pub errors: u64,
}

impl Queue {
    /// Whether an allocation, or a copy by the kernel, ever found no buffer.
    pub fn lacked_buffers(&self) -> bool {
        let copies = self.state.errors.get(&libc::ENOMEM).is_some_and(|&count| count > 0);
        copies || self.state.allocation.failures > 0
    }

    /// What keeps buffers away at this moment, in buffers, the most first.
    pub fn truth(&self) -> Vec<(Cause, u64)> {
        let state = &self.state;
        let ledger = &state.ledger;
        let stopped = self.run_state.is_some();
        let waits = state.sockets - state.unread_unarmed.min(state.sockets);
        let held = state.held + state.completed;
        let slow = if stopped { 0 } else { held + waits };
        let fragments = self.fragments.max(1);
        let pinned = if self.pinning { (state.pending + state.held) / fragments } else { 0 };
        let unfetched = if state.napi_dead || !self.device { state.pending } else { 0 };
        let mut places = vec![
            (Cause::SlowConsumer, if self.pinning { 0 } else { slow }),
            (Cause::OwnerNotRunning, if stopped { held + waits } else { 0 }),
            (Cause::UnreadSocketData, state.unread_unarmed),
            (Cause::NeverReturned, ledger.leaked),
            (Cause::RefillRingFull, ledger.dropped_returns + state.stashed),
            (Cause::BadEntries, ledger.bad),
            (Cause::FragmentPinning, pinned),
            (if self.device { Cause::LazyConsumption } else { Cause::NoDevice }, unfetched),
            (Cause::AreaTooSmall, state.posted + state.cache),
        ];
        places.sort_by_key(|place| std::cmp::Reverse(place.1));
        places
    }
}
