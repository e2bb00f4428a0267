//! What sinks send: verdicts to the peer, data to a destination.

use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use tracing::{error, warn};

use super::connection::{Receive, Sink};
use super::op::Op;
use super::retry::Timer;
use super::session::Session;
use crate::receive::ReceiveError;
use crate::receive::error::errno_name;
use crate::receive::stats::Failed;

impl Session<'_> {
    /// No more data will come: the sink finishes, and then the connection closes.
    pub(super) fn stream_ended(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        connection.receive = Receive::Ended;
        match &mut connection.sink {
            Sink::Discard => return self.close_connection(index),
            Sink::Verify(verify) => verify.line = format!("{}\n", verify.verifier.verdict()).into_bytes(),
            Sink::Forward(forward) => forward.finish(),
            Sink::File(file) => file.finish(),
        }
        self.send(index)
    }

    /// Sends what a sink has to send, if it has and nothing is in flight.
    pub(super) fn send(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        let entry = match &mut connection.sink {
            Sink::Discard => None,
            Sink::Verify(verify) => {
                let rest = &verify.line[verify.sent..];
                let socket = types::Fd(connection.socket.as_raw_fd());
                let send =
                    opcode::Send::new(socket, rest.as_ptr(), rest.len() as u32).flags(libc::MSG_NOSIGNAL);
                (!rest.is_empty()).then(|| send.build())
            }
            Sink::Forward(forward) if forward.is_done() => {
                let _gone = forward.socket().shutdown(std::net::Shutdown::Write);
                return self.close_connection(index);
            }
            Sink::Forward(forward) => forward.send(&self.pool),
            Sink::File(file) if file.is_done() => return self.close_connection(index),
            Sink::File(file) => file.write(&self.pool),
        };
        match entry {
            // SAFETY: the verdict's line, or the message and the buffers it lists, belong to the connection, which
            // is not forgotten before the request has ended; neither is touched meanwhile.
            Some(entry) => unsafe { self.push_for(index, entry, Op::Write(index)) },
            None => Ok(()),
        }
    }

    /// A send ended.
    pub(super) fn written(&mut self, index: u32, result: i32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        let failed = result < 0 && !matches!(-result, libc::EINTR | libc::EAGAIN);
        let bytes = usize::try_from(result).unwrap_or(0);
        let mut done = failed;
        match &mut connection.sink {
            Sink::Discard => {}
            Sink::Verify(verify) => {
                verify.sent += bytes;
                done |= verify.sent == verify.line.len();
            }
            Sink::Forward(forward) => forward.sent(bytes, &mut self.pool, &mut self.backlog),
            Sink::File(file) => file.wrote(bytes, &mut self.pool, &mut self.backlog),
        }
        if connection.closing {
            self.forget_if_closed(index);
            return Ok(());
        }
        if failed {
            self.failed.push((Failed::Sink, -result));
            let (peer, errno) = (connection.peer(), errno_name(-result));
            let what = match &connection.sink {
                Sink::File(file) => format!("cannot write to {}", file.describe()),
                Sink::Discard | Sink::Verify(_) | Sink::Forward(_) => {
                    let target = self.plan.target.as_ref();
                    format!("lost {}", target.map_or("its peer", |target| &target.name))
                }
            };
            error!(queue = self.plan.name, peer, errno, "{what}: ending the connection, data may be lost");
        }
        if done {
            return self.close_connection(index);
        }
        self.send(index)?;
        self.resume(index)
    }

    /// Connects a forward sink, with a fresh socket if it was tried before.
    pub(super) fn connect(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        let Sink::Forward(forward) = &mut connection.sink else { return Ok(()) };
        // A timer may outlive the connection it was meant for.
        if connection.closing || self.stopping || !forward.wants_connect() {
            return Ok(());
        }
        let entry = forward.connect();
        // SAFETY: the address belongs to the connection, which is not forgotten before the request has ended.
        unsafe { self.push_for(index, entry, Op::Connect(index)) }
    }

    /// A connect ended.
    pub(super) fn connected(&mut self, index: u32, result: i32) -> Result<(), ReceiveError> {
        if self.forget_if_closed(index) {
            return Ok(());
        }
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        let Sink::Forward(forward) = &mut connection.sink else { return Ok(()) };
        if result == 0 {
            forward.connected();
            return self.send(index);
        }
        let target = self.plan.target.as_ref();
        let name = target.map_or("the destination", |target| &target.name);
        let errno = errno_name(-result);
        if let (Some(pause), Some(Ok(socket))) = (forward.pause(), target.map(super::Target::socket)) {
            warn!(queue = self.plan.name, errno, "cannot connect to {name}: trying again in {pause:?}");
            forward.failed(socket);
            self.counters.ring.connect_retries += 1;
            self.timers.after(pause, Timer::Connect(index));
            return Ok(());
        }
        self.failed.push((Failed::Sink, -result));
        error!(queue = self.plan.name, errno, "cannot connect to {name}: ending the connection");
        self.close_connection(index)
    }
}
