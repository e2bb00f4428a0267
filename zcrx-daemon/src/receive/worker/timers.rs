//! Timers, and the one TIMEOUT request that wakes the ring for the earliest.
//!
//! A timeout in each io_uring_enter call costs the kernel a timer per batch. One request for the earliest timer costs nothing
//! while traffic flows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use io_uring::opcode;
use io_uring::types::Timespec;

use super::op::Op;
use super::requests::Requests;

/// A task with a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::receive) enum Timer {
    /// Receives that wait for a buffer are armed again.
    Receives,
    /// The listener with this index accepts again.
    Accept(u32),
    /// The sink of the connection with this index is polled.
    Sink(u32),
    /// The kernel's event of this kind is armed again.
    Arm(u32),
    /// The interface is checked, and connections that have ended without a completion.
    Health,
    /// Statistics are published.
    Publish,
    /// A better backend is tried.
    Upgrade,
    /// The drain of a stopping queue ends.
    Drained,
}

/// Timers of one event loop.
pub(in crate::receive) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
    /// When the TIMEOUT requests in flight fire.
    armed: BinaryHeap<Reverse<Instant>>,
    /// Time of the next request; the kernel reads it at submission.
    timespec: Box<Timespec>,
}

impl Timers {
    pub(in crate::receive) fn new() -> Self {
        Self { heap: BinaryHeap::new(), armed: BinaryHeap::new(), timespec: Box::new(Timespec::new()) }
    }

    /// Adds a timer.
    pub(in crate::receive) fn after(&mut self, pause: Duration, timer: Timer) {
        self.heap.push(Reverse((Instant::now() + pause, timer)));
    }

    /// Queues a TIMEOUT request if the earliest timer has none.
    pub(super) fn arm(&mut self, requests: &mut Requests) {
        let Some(Reverse((due, _))) = self.heap.peek() else { return };
        if self.armed.peek().is_some_and(|Reverse(armed)| armed <= due) {
            return;
        }
        let pause = due.saturating_duration_since(Instant::now()).max(Duration::from_micros(1));
        *self.timespec = Timespec::from(pause);
        self.armed.push(Reverse(*due));
        let timeout = opcode::Timeout::new(&raw const *self.timespec).build();
        // SAFETY: the kernel reads the time when the request is submitted, and the time lives as long as the loop. If two
        // requests are submitted together, the kernel reads the second one's time for both, which is the earlier one.
        unsafe { requests.push(timeout, Op::Timeout) };
    }

    /// Handles the end of the earliest TIMEOUT request.
    pub(super) fn fired(&mut self) {
        self.armed.pop();
    }

    /// Takes a timer that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_are_due_in_order_of_time() {
        let mut timers = Timers::new();
        let now = Instant::now();
        assert_eq!(timers.due(now), None);
        timers.after(Duration::from_hours(1), Timer::Receives);
        timers.after(Duration::ZERO, Timer::Sink(7));
        let later = now + Duration::from_mins(1);
        assert_eq!(timers.due(later), Some(Timer::Sink(7)));
        assert_eq!(timers.due(later), None);
    }

    #[test]
    fn one_request_serves_all_later_timers() {
        let (mut timers, mut requests) = (Timers::new(), Requests::default());
        timers.arm(&mut requests);
        assert_eq!(requests.in_flight(), 0, "no timer, no request");
        for hours in [2, 3] {
            timers.after(Duration::from_hours(hours), Timer::Receives);
            timers.arm(&mut requests);
        }
        assert_eq!(requests.in_flight(), 1);
        timers.after(Duration::from_hours(1), Timer::Health);
        timers.arm(&mut requests);
        assert_eq!(requests.in_flight(), 2, "an earlier timer needs a request of its own");
        timers.fired();
        let later = Instant::now() + Duration::from_mins(90);
        assert_eq!(timers.due(later), Some(Timer::Health));
        timers.arm(&mut requests);
        assert_eq!(requests.in_flight(), 2, "the request of the later timer is still in flight");
    }
}
