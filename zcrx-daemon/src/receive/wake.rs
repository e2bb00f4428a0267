//! Wakes a receive thread that waits in its ring: to end, or to show that it is alive.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A stop request or a question, and the eventfd that wakes the thread for it.
///
/// Being asked costs a thread one wake-up every few seconds; a heartbeat of its own would cost the hot path a clock.
#[derive(Debug)]
pub(super) struct Wake {
    stop: AtomicBool,
    abort: AtomicBool,
    hang: AtomicBool,
    break_ring: AtomicBool,
    /// Steps that the thread has taken towards its end.
    steps: AtomicU64,
    /// When the question was asked that is not answered yet.
    asked: Mutex<Option<Instant>>,
    event: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            hang: AtomicBool::new(false),
            break_ring: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            asked: Mutex::new(None),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.notify();
    }

    /// Asks the thread to end at once, without waiting for sinks.
    pub(super) fn abort(&self) {
        self.abort.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether the thread was asked to end at once.
    pub(super) fn aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// Whether the thread was asked to end.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// By the thread, once it was asked to end: it has handled a batch of completions or ended a connection.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of steps that the thread has taken towards its end.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Asks the thread to answer, unless it owes an answer already: then gives for how long.
    pub(super) fn ask(&self) -> Option<Duration> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = *asked {
            return Some(since.elapsed());
        }
        *asked = Some(Instant::now());
        self.notify();
        None
    }

    /// A fault on purpose, for tests of the watchdog: the thread goes no further once it notices.
    pub(super) fn hang(&self) {
        self.hang.store(true, Ordering::Release);
        self.notify();
    }

    /// A fault on purpose: the thread breaks its ring once it notices.
    pub(super) fn break_ring(&self) {
        self.break_ring.store(true, Ordering::Release);
        self.notify();
    }

    /// By the thread: whether it is to break its ring now.
    pub(super) fn breaks_ring(&self) -> bool {
        self.break_ring.swap(false, Ordering::AcqRel)
    }

    /// By the thread, when it was woken: answers, and makes the eventfd ready for the next time.
    pub(super) fn answer(&self) {
        // Nothing to read is fine: the wake-up was for nothing.
        let _count = rustix::io::read(&self.event, &mut [0; 8]);
        while self.hang.load(Ordering::Acquire) && !self.stopped() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Becomes readable when the thread is asked for something.
    pub(super) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Sleeps, but not beyond a stop request; answers meanwhile.
    pub(super) fn sleep(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while !self.stopped() {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.event.as_fd(), PollFlags::IN)], timeout.as_ref()) {
                Ok(1..) => self.answer(),
                // An interrupted sleep is a short one: the caller only meant not to hurry.
                _ => return,
            }
        }
    }

    /// Waits until the thread is asked for something, at most so long, and answers.
    pub(super) fn wait(&self, at_most: Duration) {
        let timeout = Timespec::try_from(at_most).ok();
        if let Ok(1..) = poll(&mut [PollFd::new(&self.event.as_fd(), PollFlags::IN)], timeout.as_ref()) {
            self.answer();
        }
    }

    /// Wakes the thread: there is something in its inbox.
    pub(super) fn notify(&self) {
        let written = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "an eventfd takes 2^64 - 2 of these: {written:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_is_open_until_it_is_answered() {
        let wake = Wake::new().expect("an eventfd");
        assert_eq!(wake.ask(), None);
        assert!(wake.ask().is_some(), "asked, and not answered");
        wake.answer();
        assert_eq!(wake.ask(), None);
        // A sleeping thread answers too, and does not sleep shorter for it.
        let begin = Instant::now();
        wake.sleep(Duration::from_millis(30));
        assert!(begin.elapsed() >= Duration::from_millis(30));
        assert_eq!(wake.ask(), None);
        wake.stop();
        wake.sleep(Duration::from_hours(1));
    }
}
