//! Wakes a receive thread that waits in its ring: to end, or to show that it is alive.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// Stop requests and heartbeat requests for a thread, and the eventfd that wakes the thread.
///
/// A request costs the thread one wake-up every few seconds. A heartbeat without request would cost the hot path a clock read.
#[derive(Debug)]
pub(super) struct Wake {
    stop: AtomicBool,
    abort: AtomicBool,
    successor: AtomicBool,
    hang: AtomicBool,
    break_ring: AtomicBool,
    /// Steps that the thread has taken towards its end.
    steps: AtomicU64,
    /// Time of the heartbeat request that the thread has not answered.
    asked: Mutex<Option<Instant>>,
    event: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            stop: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            successor: AtomicBool::new(false),
            hang: AtomicBool::new(false),
            break_ring: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            asked: Mutex::new(None),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Requests the end of the thread.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.notify();
    }

    /// Requests the end of the thread without waiting for sinks.
    pub(super) fn abort(&self) {
        self.abort.store(true, Ordering::Release);
        self.stop();
    }

    /// Another zcrxd follows: the thread leaves to it what can go on there.
    pub(super) fn expect_successor(&self) {
        self.successor.store(true, Ordering::Release);
    }

    /// Whether another zcrxd follows, with the listening sockets of this one.
    pub(super) fn has_successor(&self) -> bool {
        self.successor.load(Ordering::Acquire)
    }

    /// Whether the thread must end without waiting for sinks.
    pub(super) fn aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// Whether the thread must end.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Called by a thread that must end: it has handled a batch of completions or ended a connection.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of steps that the thread has taken towards its end.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Requests a heartbeat. If the thread has not answered the previous request, returns the time since then.
    pub(super) fn ask(&self) -> Option<Duration> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = *asked {
            return Some(since.elapsed());
        }
        *asked = Some(Instant::now());
        self.notify();
        None
    }

    /// For tests of the watchdog: the thread hangs once it notices.
    pub(super) fn hang(&self) {
        self.hang.store(true, Ordering::Release);
        self.notify();
    }

    /// For tests of the recovery: the thread breaks its ring once it notices.
    pub(super) fn break_ring(&self) {
        self.break_ring.store(true, Ordering::Release);
        self.notify();
    }

    /// Called by the thread: whether it must break its ring now.
    pub(super) fn breaks_ring(&self) -> bool {
        self.break_ring.swap(false, Ordering::AcqRel)
    }

    /// Called by the woken thread: answers, and resets the eventfd.
    pub(super) fn answer(&self) {
        // A read that finds nothing is harmless: the wake-up was spurious.
        let _count = rustix::io::read(&self.event, &mut [0; 8]);
        while self.hang.load(Ordering::Acquire) && !self.stopped() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Descriptor that becomes readable when the thread has a request.
    pub(super) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Sleeps until the time is over or the thread must end. Answers heartbeat requests meanwhile.
    pub(super) fn sleep(&self, duration: Duration) {
        let end = Instant::now() + duration;
        while !self.stopped() {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.event.as_fd(), PollFlags::IN)], timeout.as_ref()) {
                Ok(1..) => self.answer(),
                // A signal shortens the sleep, which callers tolerate.
                _ => return,
            }
        }
    }

    /// Waits for a request, at most for the given time, and answers it.
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
        // A sleeping thread answers too, and sleeps as long as before.
        let begin = Instant::now();
        wake.sleep(Duration::from_millis(30));
        assert!(begin.elapsed() >= Duration::from_millis(30));
        assert_eq!(wake.ask(), None);
        wake.stop();
        wake.sleep(Duration::from_hours(1));
    }
}
