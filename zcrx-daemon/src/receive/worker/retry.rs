//! Receives that ended for want of a buffer or of room, and when they try again. Never at once and for ever.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// Pauses between attempts of receives that nobody wakes: from 1 ms, doubling, to 256 ms.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MOST_DOUBLINGS: u32 = 8;
/// Attempts without a single byte, though user space holds nothing, after which waiting is given up: about 16 s.
const BUDGET: u32 = 64;

/// Something to do at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// Waiting receives try again.
    Receives,
    /// The listener with this index accepts again.
    Accept(u32),
    /// The sink of the connection with this index connects again.
    Connect(u32),
    /// The kernel's event of this kind is armed again.
    Arm(u32),
    /// The interface is looked for, and connections that have ended in silence.
    Watch,
}

/// What is due when.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Timer)>>,
}

impl Timers {
    /// Adds a timer.
    pub(super) fn after(&mut self, pause: Duration, timer: Timer) {
        self.heap.push(Reverse((Instant::now() + pause, timer)));
    }

    /// How long until the first is due; `None` without any, and then no clock is asked.
    pub(super) fn next(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()))
    }

    /// Takes one that is due.
    pub(super) fn due(&mut self) -> Option<Timer> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > Instant::now() {
            return None;
        }
        self.heap.pop().map(|Reverse((_, timer))| timer)
    }
}

/// Connections whose receive waits for a buffer, first come first served.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<u32>,
    /// Attempts by time since data last came.
    attempts: u32,
    timer_runs: bool,
}

impl Waiting {
    pub(super) fn push(&mut self, connection: u32) {
        self.queue.push_back(connection);
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        self.queue.pop_front()
    }

    /// Forgets a connection that is gone: a buffer offered to it would be offered to nobody.
    pub(super) fn remove(&mut self, connection: u32) {
        self.queue.retain(|waiting| *waiting != connection);
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Data came: whatever was wrong is over.
    pub(super) fn progress(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait before trying unasked; `None` if the time runs already.
    pub(super) fn pause(&mut self) -> Option<Duration> {
        if self.timer_runs {
            return None;
        }
        self.timer_runs = true;
        Some(FIRST_PAUSE * (1 << self.attempts.min(MOST_DOUBLINGS)))
    }

    /// The pause is over. Says whether to go on trying: while user space itself holds buffers, waiting is right
    /// however long it takes; otherwise the attempts are counted.
    pub(super) fn pause_over(&mut self, user_holds: bool) -> bool {
        self.timer_runs = false;
        if !user_holds {
            self.attempts += 1;
        }
        self.attempts <= BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_counts_only_while_user_space_holds_nothing_and_progress_renews_it() {
        let mut waiting = Waiting::default();
        for _ in 0..10 * BUDGET {
            assert!(waiting.pause_over(true));
        }
        for _ in 0..BUDGET {
            assert!(waiting.pause_over(false));
        }
        assert!(!waiting.pause_over(false));
        waiting.progress();
        assert!(waiting.pause_over(false));
    }

    #[test]
    fn pauses_grow_to_a_limit_and_run_one_at_a_time() {
        let mut waiting = Waiting::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let pause = waiting.pause().expect("none runs");
            assert_eq!(waiting.pause(), None, "one runs already");
            assert!(pause >= last && pause <= Duration::from_millis(256), "{pause:?}");
            last = pause;
            assert!(waiting.pause_over(false));
        }
        assert_eq!(last, Duration::from_millis(256));
    }

    #[test]
    fn timers_come_due_in_order_of_time() {
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.due()), (None, None));
        timers.after(Duration::from_hours(1), Timer::Receives);
        timers.after(Duration::ZERO, Timer::Connect(7));
        assert_eq!(timers.due(), Some(Timer::Connect(7)));
        assert_eq!(timers.due(), None);
        assert!(timers.next().is_some_and(|next| next > Duration::from_mins(50)));
    }
}
