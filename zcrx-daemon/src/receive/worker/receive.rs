//! Data comes, and goes to a sink; and what is done about every way a receive can end.

use std::os::fd::AsRawFd;

use io_uring::{cqueue, opcode};
use tracing::{debug, error, warn};

use super::backlog::Place;
use super::connection::{Connection, Receive, Sink};
use super::op::Op;
use super::session::Session;
use crate::receive::ReceiveError;
use crate::receive::backend::Completion;
use crate::receive::error::errno_name;
use crate::receive::pool::Buffer;
use crate::receive::stats::Failed;

/// Room that a paused connection waits for, bytes.
const RESUME_BYTES: usize = 64 << 10;

/// When a receive whose multishot ended tries again.
enum Retry {
    Now,
    WithRoom,
    WithBuffer,
}

impl Session<'_> {
    /// A completion of a receive.
    pub(super) fn received(
        &mut self,
        index: u32,
        cqe: &cqueue::Entry32,
        more: bool,
    ) -> Result<(), ReceiveError> {
        let completion = self.backend.completion(cqe, &mut self.pool);
        let Some(connection) = self.connections.get_mut(index as usize) else {
            error!(queue = self.plan.name, index, "a receive completed on no connection");
            return Ok(());
        };
        connection.heard = true;
        if !more {
            connection.in_flight -= 1;
            connection.receive = Receive::Waiting;
        }
        let closing = connection.closing;
        let mut retry = Retry::Now;
        match completion {
            Completion::Data(buffer) => {
                self.counters.completions += 1;
                self.counters.bytes += buffer.len() as u64;
                self.waiting.progress();
                if closing {
                    self.pool.give_back(buffer);
                } else {
                    self.consume(index, buffer)?;
                }
            }
            // A closing connection's errors are of our own making.
            _ if closing => {}
            // Of our own making as well: the connection was paused, and may go on by now.
            Completion::Nothing | Completion::Failed(libc::ECANCELED) => {}
            Completion::End => return self.stream_ended(index),
            Completion::QueueFull => {
                self.failed.push((Failed::Receive, libc::ENOSPC));
                retry = Retry::WithRoom;
            }
            Completion::NoBuffers(errno) => {
                self.failed.push((Failed::Receive, errno));
                retry = Retry::WithBuffer;
            }
            Completion::Failed(errno) => {
                self.failed.push((Failed::Receive, errno));
                let peer = connection.peer();
                let (errno, means) = (errno_name(errno), meaning(errno));
                warn!(queue = self.plan.name, peer, errno, "connection failed: {means}");
                // What came before is as good as ever.
                if !more && matches!(connection.sink, Sink::File(_)) {
                    return self.stream_ended(index);
                }
                return self.close_connection(index);
            }
        }
        if more || self.forget_if_closed(index) {
            return Ok(());
        }
        // Whoever waits for its sink is armed again when that has caught up.
        if self.connections.get(index as usize).is_some_and(|connection| connection.paused) {
            return Ok(());
        }
        match retry {
            Retry::Now => return self.receive_again(index),
            Retry::WithRoom => self.crowded_out.push(index),
            Retry::WithBuffer => self.waiting.push(index),
        }
        Ok(())
    }

    /// Arms a connection's first receive.
    pub(super) fn receive(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        if self.stopping || connection.closing {
            return Ok(());
        }
        connection.receive = Receive::Armed;
        connection.in_flight += 1;
        let entry = self.backend.receive(connection.socket.as_raw_fd());
        // SAFETY: what a receive writes to is the area, which outlives the ring's requests.
        unsafe { self.push(entry, Op::Receive(index)) }
    }

    /// Arms a receive whose multishot ended.
    pub(super) fn receive_again(&mut self, index: u32) -> Result<(), ReceiveError> {
        let waits = |connection: &Connection| {
            connection.receive == Receive::Waiting && !connection.closing && !connection.paused
        };
        if self.connections.get(index as usize).is_some_and(waits) {
            self.counters.rearms += 1;
            self.receive(index)?;
        }
        Ok(())
    }

    /// Gives a buffer to the connection's sink.
    fn consume(&mut self, index: u32, buffer: Buffer) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else {
            self.pool.give_back(buffer);
            return Ok(());
        };
        match &mut connection.sink {
            Sink::Discard => self.pool.give_back(buffer),
            Sink::Verify(verify) => {
                let checked = verify.verifier.update(self.pool.bytes(&buffer));
                self.counters.verified_bytes += checked.compared;
                self.counters.mismatched_bytes += checked.mismatched;
                self.pool.give_back(buffer);
            }
            Sink::Forward(_) | Sink::File(_) => return self.keep(index, buffer),
        }
        Ok(())
    }

    /// Puts a buffer's data where it can wait for its sink.
    fn keep(&mut self, index: u32, buffer: Buffer) -> Result<(), ReceiveError> {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(index as usize) else {
            self.pool.give_back(buffer);
            return Ok(());
        };
        let Some(outbox) = connection.sink.outbox() else {
            self.pool.give_back(buffer);
            return Ok(());
        };
        let counters = &mut self.counters.ring.backlog;
        match self.backlog.place(outbox.held(), connections, buffer.len()) {
            Place::Area => outbox.hold(buffer, &mut self.backlog),
            Place::Memory => {
                counters.limit_reached += u64::from(!outbox.has_copies());
                counters.copied_out_bytes += buffer.len() as u64;
                outbox.copy(buffer, &mut self.pool, &mut self.backlog);
            }
            Place::Nowhere => {
                outbox.hold(buffer, &mut self.backlog);
                self.pause(index)?;
            }
        }
        self.send(index)
    }

    /// Receives no more from a connection until its sink has caught up: the kernel then keeps what comes, as much as the
    /// socket takes, and TCP tells the sender.
    fn pause(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        if connection.paused || connection.receive == Receive::Ended {
            return Ok(());
        }
        connection.paused = true;
        self.counters.ring.backlog.pauses += 1;
        self.counters.ring.backlog.paused += 1;
        debug!(queue = self.plan.name, index, "the sink is too slow: connection paused");
        if connection.receive != Receive::Armed {
            return Ok(());
        }
        let cancel = opcode::AsyncCancel::new(Op::Receive(index).encode()).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(cancel, Op::Cancel) }
    }

    /// Goes on with a paused connection if its sink has caught up.
    pub(super) fn resume(&mut self, index: u32) -> Result<(), ReceiveError> {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        if !connection.paused {
            return Ok(());
        }
        let Some(outbox) = connection.sink.outbox() else { return Ok(()) };
        // Once its copies are gone it has room for more: to go on at the first free byte would be to stop again at the
        // next.
        if outbox.has_copies()
            || self.backlog.place(outbox.held(), connections, RESUME_BYTES) == Place::Nowhere
        {
            return Ok(());
        }
        connection.paused = false;
        self.counters.ring.backlog.paused -= 1;
        self.receive_again(index)
    }
}

/// What an errno of a receive means, where it says more than its name.
fn meaning(errno: i32) -> &'static str {
    match errno {
        libc::EFAULT => "its data lies in another queue's buffers: the flow is steered to the wrong queue",
        libc::EPROTONOSUPPORT => "not plain TCP (kTLS and sockmap cannot be received with zero copy)",
        libc::ECONNRESET => "reset by the peer",
        libc::ETIMEDOUT => "the peer does not answer",
        libc::EINVAL => "the kernel does not know the request",
        _ => "it cannot be received from",
    }
}
