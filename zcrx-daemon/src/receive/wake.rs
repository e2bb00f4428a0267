//! Wakes a receive thread that waits in its ring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A stop request, and the eventfd that makes it noticed.
#[derive(Debug)]
pub(super) struct Wake {
    stop: AtomicBool,
    event: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { stop: AtomicBool::new(false), event: eventfd(0, EventfdFlags::CLOEXEC)? })
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        let written = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "an eventfd takes 2^64 - 2 stops: {written:?}");
    }

    /// Whether the thread was asked to end.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Becomes readable when the thread is asked to end.
    pub(super) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Sleeps, but not beyond a stop request.
    pub(super) fn sleep(&self, duration: Duration) {
        let timeout = Timespec::try_from(duration).ok();
        // An interrupted sleep is a short one: the caller only meant not to hurry.
        let _woken = poll(&mut [PollFd::new(&self.event.as_fd(), PollFlags::IN)], timeout.as_ref());
    }
}
