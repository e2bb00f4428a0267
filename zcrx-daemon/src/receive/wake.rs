//! Wakes a receive thread that waits in its ring.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// A stop request, and the eventfd that makes it and other things noticed.
#[derive(Debug)]
pub(super) struct Wake {
    stop: AtomicBool,
    event: OwnedFd,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            stop: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Asks the thread to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.knock();
    }

    /// Asks for the thread's attention: there is something at its desk.
    pub(super) fn knock(&self) {
        let written = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        debug_assert!(written.is_ok(), "an eventfd takes 2^64 - 2 knocks: {written:?}");
    }

    /// Hears all knocks so far.
    pub(super) fn hear(&self) {
        let mut count = [0; 8];
        // Nothing to read: there was no knock.
        let _none = rustix::io::read(&self.event, &mut count);
    }

    /// Whether the thread was asked to end.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Becomes readable at a knock, and when the thread is asked to end.
    pub(super) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Sleeps, but not beyond a stop request or a knock.
    pub(super) fn sleep(&self, duration: Duration) {
        // An old knock must not make every sleep a short one. A stop that is heard here is seen here.
        self.hear();
        if self.stopped() {
            return;
        }
        let timeout = Timespec::try_from(duration).ok();
        // An interrupted sleep is a short one: the caller only meant not to hurry.
        let _woken = poll(&mut [PollFd::new(&self.event.as_fd(), PollFlags::IN)], timeout.as_ref());
    }
}
