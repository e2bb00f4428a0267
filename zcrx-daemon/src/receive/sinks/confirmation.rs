//! What a destination has of the payload that was sent to it.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use socket2::Socket;

use super::zero_copy;

/// Longest time without a confirmation after the half-close.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// Interval at which unconfirmed bytes are checked at first. It grows to a quarter of the time for which they have not changed: a
/// destination that is slow, or that keeps its end open, costs a few checks and not fifty a second.
const CONFIRM_STEP: Duration = Duration::from_millis(20);
/// Longest interval between two checks of unconfirmed bytes.
const LONGEST_CONFIRM_STEP: Duration = Duration::from_secs(1);

/// The account of one connection to a destination.
pub(super) struct Confirmation {
    /// Bytes that the destination's kernel has not acknowledged, and the time of that number's last change.
    unacknowledged: u64,
    since: Instant,
    /// The half-close counts as one unacknowledged byte of TCP's.
    half_closed: bool,
    /// Bytes that the destination's socket took, and how many of them the destination of a Unix socket had certainly read.
    sent: u64,
    read: u64,
    /// The connection to the destination failed.
    failed: bool,
    /// Bytes without acknowledgement when zcrxd aborted the connection to the destination.
    aborted: Option<u64>,
}

/// The account for another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ConfirmationState {
    half_closed: bool,
    sent: u64,
    read: u64,
}

/// Result of a check after the half-close.
pub(super) enum Check {
    /// The destination has everything.
    Confirmed,
    /// To be checked again after a pause.
    Again(Duration),
    /// The connection failed, with this positive errno.
    Failed(i32),
}

impl ConfirmationState {
    pub(super) const fn is_sound(self) -> bool {
        self.read <= self.sent
    }
}

impl Confirmation {
    pub(super) fn new() -> Self {
        Self::of(ConfirmationState { half_closed: false, sent: 0, read: 0 })
    }

    /// Continues the account of another process.
    pub(super) fn of(ConfirmationState { half_closed, sent, read }: ConfirmationState) -> Self {
        Self {
            unacknowledged: 0,
            since: Instant::now(),
            half_closed,
            sent,
            read,
            failed: false,
            aborted: None,
        }
    }

    /// The account for another process; `None` once the connection has failed.
    pub(super) fn state(&self) -> Option<ConfirmationState> {
        let &Self { half_closed, sent, read, .. } = self;
        (!self.failed && self.aborted.is_none()).then_some(ConfirmationState { half_closed, sent, read })
    }

    /// The destination's socket took so many bytes more.
    pub(super) const fn sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The connection failed.
    pub(super) const fn failed(&mut self) {
        self.failed = true;
    }

    /// Tells the destination that nothing more follows.
    pub(super) fn half_close(&mut self, socket: &Socket) {
        // Fails if the destination is gone: the read reports that.
        self.half_closed = socket.shutdown(std::net::Shutdown::Write).is_ok();
        self.since = Instant::now();
    }

    /// Whether the destination has everything, after the half-close. `finished`: its own stream has ended.
    pub(super) fn check(&mut self, socket: &Socket, is_unix: bool, finished: bool) -> Check {
        let unacknowledged = self.unacknowledged(Some(socket), is_unix);
        // The kernel sets the error before it drops what the destination has not read, so this check comes after the count.
        // Without a read in flight, nothing else reports the error.
        if let Ok(Some(error)) = socket.take_error() {
            return Check::Failed(error.raw_os_error().unwrap_or(libc::EIO));
        }
        if finished && unacknowledged == 0 {
            return Check::Confirmed;
        }
        if unacknowledged != self.unacknowledged {
            (self.unacknowledged, self.since) = (unacknowledged, Instant::now());
        }
        let unchanged = self.since.elapsed();
        if unchanged < CONFIRM_LIMIT {
            return Check::Again((unchanged / 4).clamp(CONFIRM_STEP, LONGEST_CONFIRM_STEP));
        }
        // A destination that has acknowledged everything and keeps its connection open has lost nothing.
        if unacknowledged == 0 { Check::Confirmed } else { Check::Failed(libc::ETIMEDOUT) }
    }

    /// Bytes that zcrxd sent and that the destination has not acknowledged (TCP) or possibly not read (Unix).
    pub(super) fn unacknowledged(&self, socket: Option<&Socket>, is_unix: bool) -> u64 {
        if let Some(bytes) = self.aborted {
            return bytes;
        }
        let waiting = socket.map_or(0, waiting);
        if !is_unix {
            return waiting.saturating_sub(u64::from(self.half_closed));
        }
        // A Unix socket counts memory, not payload. After a failure its kernel has freed what the destination had not read.
        let unread = self.sent - self.read;
        if self.failed { unread } else { unread.min(waiting) }
    }

    /// Notes that the destination of a Unix socket has read everything, if so. Nothing waits either after the kernel has dropped
    /// what a destination left unread; the socket is hung up by then.
    pub(super) fn note_read(&mut self, socket: &Socket) {
        if waiting(socket) == 0 && !is_hung_up(socket) {
            self.read = self.sent;
        }
    }

    /// Drops what the destination has not acknowledged, with a reset. A destination that no longer answers would occupy the
    /// buffers until TCP gives up, which takes a quarter of an hour.
    pub(super) fn abort(&mut self, socket: &Socket, is_unix: bool) {
        self.aborted = Some(self.unacknowledged(Some(socket), is_unix));
        zero_copy::disconnect(socket);
    }
}

/// The kernel's count of what waits for the destination.
fn waiting(socket: &Socket) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives long enough.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    // If the kernel does not report it, the number counts as 0.
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

fn is_hung_up(socket: &Socket) -> bool {
    // Without requested events, poll reports only errors and hang-ups.
    let mut polled = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).is_err() || polled[0].any() != Some(false)
}
