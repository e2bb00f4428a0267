//! One accepted connection.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use serde::Serialize;
use zcrx_daemon::receive::pattern::Verifier;

/// Whether a receive is armed.
enum Armed {
    /// Not yet, or no longer: may be armed from that moment on.
    From(Instant),
    Yes,
}

/// What waits in a connection's socket.
#[derive(Serialize)]
pub(crate) struct Backlog {
    /// Its descriptor.
    fd: RawFd,
    /// The peer; absent once the connection is gone.
    peer: Option<SocketAddr>,
    /// `SO_INCOMING_NAPI_ID`; 0 if its data came by no NIC.
    napi_id: i32,
    /// `FIONREAD`.
    unread_bytes: i32,
    /// `SO_RCVBUF`.
    limit_bytes: i32,
}

/// A stream and what it has carried so far.
pub(crate) struct Connection {
    stream: TcpStream,
    armed: Armed,
    armed_before: bool,
    /// Bytes since the receive was armed.
    since_armed: u64,
    verifier: Verifier,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            armed: Armed::From(Instant::now()),
            armed_before: false,
            since_armed: 0,
            verifier: Verifier::default(),
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    pub(crate) fn wants_arming(&self, now: Instant) -> bool {
        matches!(self.armed, Armed::From(at) if at <= now)
    }

    pub(crate) fn is_armed(&self) -> bool {
        matches!(self.armed, Armed::Yes)
    }

    /// Notes that the receive is armed; says whether it had been before.
    pub(crate) fn arm(&mut self) -> bool {
        self.armed = Armed::Yes;
        self.since_armed = 0;
        std::mem::replace(&mut self.armed_before, true)
    }

    /// Notes that the receive ended, and when it may be armed again.
    pub(crate) fn disarm_until(&mut self, at: Instant) {
        self.armed = Armed::From(at);
    }

    /// What the kernel answers about its socket.
    pub(crate) fn backlog(&self) -> Backlog {
        let option = |name| {
            let mut value = 0_i32;
            let mut size = size_of::<i32>() as libc::socklen_t;
            // SAFETY: an int and its size, which live to the end of the call.
            let result = unsafe {
                libc::getsockopt(self.fd(), libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut size)
            };
            if result == 0 { value } else { 0 }
        };
        let mut unread = 0_i32;
        // SAFETY: FIONREAD writes one int, which lives to the end of the call.
        unsafe { libc::ioctl(self.fd(), libc::FIONREAD, &raw mut unread) };
        Backlog {
            fd: self.fd(),
            peer: self.stream.peer_addr().ok(),
            napi_id: option(libc::SO_INCOMING_NAPI_ID),
            unread_bytes: unread,
            limit_bytes: option(libc::SO_RCVBUF),
        }
    }

    /// Bytes received since the receive was armed.
    pub(crate) const fn since_armed(&self) -> u64 {
        self.since_armed
    }

    /// Takes the next bytes; the number of them that were not what they should be.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> u64 {
        self.took(bytes.len() as u64);
        self.verifier.update(bytes).mismatched
    }

    /// So many bytes came, and were not looked at.
    pub(crate) const fn took(&mut self, bytes: u64) {
        self.since_armed += bytes;
    }

    /// Closes it; at the end of a stream, after the verdict was sent. A sender that does not wait for it loses it.
    pub(crate) fn close(mut self, end_of_stream: bool) {
        if end_of_stream && let Err(error) = writeln!(self.stream, "{}", self.verifier.verdict()) {
            eprintln!("foreign: the verdict could not be sent: {error}");
        }
    }
}
