//! New connections.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use io_uring::{opcode, types};
use socket2::Socket;
use tracing::{debug, error, warn};

use super::connection::{Connection, Sink, Verify, peer};
use super::file::FileSink;
use super::forward::Forward;
use super::op::Op;
use super::retry::Timer;
use super::session::Session;
use crate::receive::ReceiveError;
use crate::receive::config::SinkConfig;
use crate::receive::error::errno_name;
use crate::receive::stats::Failed;

/// Pause after an accept failed for want of something: files, memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Session<'_> {
    /// Arms a listener.
    pub(super) fn accept(&mut self, listener: u32) -> Result<(), ReceiveError> {
        if self.stopping {
            return Ok(());
        }
        let Some(socket) = self.plan.listeners.get(listener as usize) else { return Ok(()) };
        let entry = opcode::AcceptMulti::new(types::Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(entry, Op::Accept(listener)) }
    }

    pub(super) fn accepted(&mut self, listener: u32, result: i32, more: bool) -> Result<(), ReceiveError> {
        if result >= 0 {
            // SAFETY: the kernel gave the descriptor to this completion, and so to nobody else.
            let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(result) });
            self.place(socket)?;
        } else if self.stopping {
            return Ok(());
        } else {
            self.failed.push((Failed::Accept, -result));
            warn!(queue = self.plan.name, errno = errno_name(-result), "cannot accept a connection");
        }
        match -result {
            _ if more || self.stopping => Ok(()),
            // The peer gave up first, or nothing is wrong at all.
            ..=0 | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN => self.accept(listener),
            _ => {
                self.timers.after(ACCEPT_PAUSE, Timer::Accept(listener));
                Ok(())
            }
        }
    }

    /// Receives from a connection from now on.
    pub(super) fn welcome(&mut self, socket: Socket) -> Result<(), ReceiveError> {
        if self.stopping {
            return Ok(());
        }
        let Some(sink) = self.sink(&socket) else { return Ok(()) };
        let forwards = matches!(sink, Sink::Forward(_));
        let index = self.connections.insert(Connection::new(socket, sink)) as u32;
        self.counters.accepted += 1;
        self.counters.connections += 1;
        debug!(queue = self.plan.name, index, "connection accepted");
        if forwards {
            self.connect(index)?;
        }
        self.receive(index)
    }

    /// A sink for one more connection; `None`, with a log line, if there can be none.
    fn sink(&mut self, socket: &Socket) -> Option<Sink> {
        match (&self.plan.config.sink, &self.plan.target) {
            (SinkConfig::Discard, _) | (SinkConfig::Forward(_), None) => Some(Sink::Discard),
            (SinkConfig::Verify, _) => Some(Sink::Verify(Box::<Verify>::default())),
            (SinkConfig::File(directory), _) => match FileSink::create(directory, &peer(socket)) {
                Ok(file) => Some(Sink::File(Box::new(file))),
                Err(error) => {
                    self.failed.extend(error.raw_os_error().map(|errno| (Failed::Sink, errno)));
                    let directory = directory.display();
                    error!(queue = self.plan.name, %error, "no new file in {directory}: refusing a connection");
                    None
                }
            },
            (SinkConfig::Forward(_), Some(target)) => match target.socket() {
                Ok(socket) => Some(Sink::Forward(Box::new(Forward::new(socket, target.address.clone())))),
                Err(error) => {
                    self.failed.extend(error.raw_os_error().map(|errno| (Failed::Sink, errno)));
                    warn!(queue = self.plan.name, %error, "no socket for the sink: refusing a connection");
                    None
                }
            },
        }
    }
}
