//! Receives that ended because no buffer was free, and the times of their next attempts. Pauses and attempts are limited.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pauses of one connection between attempts without data: from 1 ms, doubling, to 256 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_DOUBLINGS: u32 = 8;
/// Attempts of one connection without data after which zcrxd closes it, about 16 s; attempts while sinks hold the area are free.
const BUDGET: u32 = 64;

/// One connection's attempts since it last received data.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::receive) struct Attempts {
    /// Attempts that count against the budget.
    counted: u32,
    /// All attempts, which lengthen the pause.
    all: u32,
}

impl Attempts {
    /// Resets the attempts: data arrived.
    #[inline]
    pub(in crate::receive) const fn progress(&mut self) {
        self.all = 0;
        self.counted = 0;
    }

    /// Counts an attempt. An attempt while sinks hold the area does not count against the budget: then waiting is right.
    pub(in crate::receive) fn attempt(&mut self, sinks_hold_the_area: bool) {
        self.all = self.all.saturating_add(1);
        if !sinks_hold_the_area {
            self.counted += 1;
        }
    }

    /// Pause before the next attempt; none before the first.
    pub(in crate::receive) fn pause(self) -> Duration {
        if self.all == 0 { Duration::ZERO } else { FIRST_PAUSE * (1 << (self.all - 1).min(MAX_DOUBLINGS)) }
    }

    /// Whether zcrxd should close the connection.
    pub(in crate::receive) const fn exhausted(self) -> bool {
        self.counted > BUDGET
    }
}

/// Connections whose receive waits for a buffer.
#[derive(Debug, Default)]
pub(super) struct Retries {
    /// In the order of arrival, each with the time of its next attempt.
    waiting: VecDeque<(Instant, u32)>,
}

impl Retries {
    /// Adds a connection whose next attempt is at `due`, or sooner if buffers are returned.
    pub(super) fn push(&mut self, connection: u32, due: Instant) {
        self.waiting.push_back((due, connection));
    }

    /// Takes the connection that waits longest, whenever it is due.
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.waiting.pop_front().map(|(_, connection)| connection)
    }

    /// Takes a connection that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let at = self.waiting.iter().position(|(due, _)| *due <= now)?;
        self.waiting.remove(at).map(|(_, connection)| connection)
    }

    /// Number of connections that are due.
    pub(super) fn due(&self, now: Instant) -> usize {
        self.waiting.iter().filter(|(due, _)| *due <= now).count()
    }

    /// Time of the earliest attempt.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// Removes a connection that is gone, so that no buffer is offered to it.
    pub(super) fn remove(&mut self, connection: u32) {
        self.waiting.retain(|(_, waiting)| *waiting != connection);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_the_connections_own() {
        let (mut idle, mut busy) = (Attempts::default(), Attempts::default());
        for _ in 0..=BUDGET {
            idle.attempt(false);
            busy.attempt(false);
            busy.progress();
        }
        assert!(idle.exhausted(), "another connection's data does not renew the budget");
        assert!(!busy.exhausted());
    }

    #[test]
    fn attempts_are_free_while_sinks_hold_the_area() {
        let mut attempts = Attempts::default();
        for _ in 0..10 * BUDGET {
            attempts.attempt(true);
        }
        assert!(!attempts.exhausted());
        assert_eq!(attempts.pause(), Duration::from_millis(256), "the pause grows all the same");
    }

    #[test]
    fn connections_are_woken_in_order_and_tried_when_due() {
        let now = Instant::now();
        let mut retries = Retries::default();
        retries.push(1, now + Duration::from_secs(2));
        retries.push(2, now + Duration::from_secs(1));
        retries.push(3, now + Duration::from_secs(3));
        assert_eq!(retries.earliest(), Some(now + Duration::from_secs(1)));
        assert_eq!(retries.pop_due(now), None);
        assert_eq!(retries.pop_due(now + Duration::from_secs(1)), Some(2));
        assert_eq!(retries.pop(), Some(1), "free buffers go to the one that waits longest");
        retries.remove(3);
        assert_eq!((retries.pop(), retries.len()), (None, 0));
    }
}
