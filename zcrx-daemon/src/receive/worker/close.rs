//! How connections end, and how a ring does: nothing in flight is forgotten.

use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use tracing::{debug, error, warn};

use super::connection::{Receive, Sink};
use super::op::Op;
use super::remains::Remains;
use super::session::Session;
use crate::receive::ReceiveError;
use crate::receive::ring::REAP_AT_ONCE;
use crate::receive::stats::Counters;

/// How long cancelled requests are waited for at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(700);

impl Session<'_> {
    /// Ends every connection, takes every completion that is still to come, and gives all buffers back. What requests that
    /// do not end may still use is left to the caller to keep.
    pub(super) fn close(mut self) -> (Counters, Option<Remains>) {
        self.stopping = true;
        let drained = self.drain();
        if let Err(error) = &drained {
            error!(queue = self.plan.name, %error, "could not end the ring's requests");
        }
        self.counters.connections = 0;
        self.counters.ring.backlog.paused = 0;
        self.publish();
        let mut counters = self.counters;
        // What was held is gone with the queue: nobody can return it any more, and nobody holds it.
        counters.reclaimed = counters.dispensed - counters.returned;
        if let Some(seat) = &self.plan.seat {
            seat.holds(0);
        }
        counters.stashed = 0;
        counters.oldest = None;
        if self.in_flight == 0 {
            return (counters, None);
        }
        error!(
            queue = self.plan.name,
            requests = self.in_flight,
            "requests do not end: keeping their memory"
        );
        let Self { ring, backend, pool, connections, .. } = self;
        drop(ring);
        (counters, Some(Remains { backend, pool, connections }))
    }

    /// Ends a connection: at once, or when the requests that name it have ended.
    pub(super) fn close_connection(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get_mut(index as usize) else { return Ok(()) };
        connection.closing = true;
        self.forget_if_closed(index);
        // Still there if requests name it: they are made to end.
        self.interrupt(index)
    }

    /// Makes the requests of a closing connection end.
    fn interrupt(&mut self, index: u32) -> Result<(), ReceiveError> {
        let Some(connection) = self.connections.get(index as usize) else { return Ok(()) };
        // Shutting down fails where the peer has been quicker: then the requests end as well.
        let _gone = connection.socket.shutdown(std::net::Shutdown::Both);
        if let Sink::Forward(forward) = &connection.sink {
            let _gone = forward.socket().shutdown(std::net::Shutdown::Both);
            if forward.is_connecting() {
                let connect = Op::Connect(index).encode();
                let cancel = opcode::AsyncCancel::new(connect).build();
                // SAFETY: the request points to nothing.
                unsafe { self.push(cancel, Op::Cancel) }?;
            }
        }
        Ok(())
    }

    /// Forgets a closing connection if no request names it any more. Says whether it is closing.
    pub(super) fn forget_if_closed(&mut self, index: u32) -> bool {
        let Some(connection) = self.connections.get(index as usize) else { return true };
        if connection.closing && connection.in_flight == 0 {
            let mut connection = self.connections.remove(index as usize);
            if connection.receive == Receive::Waiting {
                self.waiting.remove(index);
            }
            if let Sink::File(file) = &connection.sink
                && !file.outbox.is_empty()
            {
                let (file, lost) = (file.describe(), file.outbox.bytes());
                warn!(queue = self.plan.name, "{lost} bytes that were received are not in {file}");
            }
            if let Some(outbox) = connection.sink.outbox() {
                outbox.clear(&mut self.pool, &mut self.backlog);
            }
            self.counters.ring.backlog.paused -= u64::from(connection.paused);
            self.counters.connections -= 1;
            debug!(queue = self.plan.name, "connection closed");
            return true;
        }
        connection.closing
    }

    /// Cancels everything and takes completions until nothing is in flight, or time is up.
    fn drain(&mut self) -> Result<(), ReceiveError> {
        let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(cancel, Op::Cancel) }?;
        let open: Vec<u32> = self.connections.iter().map(|(index, _)| index as u32).collect();
        for index in open {
            self.close_connection(index)?;
        }
        let end = Instant::now() + DRAIN_TIMEOUT;
        let mut reaped = [const { MaybeUninit::uninit() }; REAP_AT_ONCE];
        while self.in_flight > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.ring.wait(Some(left))?;
            self.batch(&mut reaped)?;
        }
        self.pool.publish();
        Ok(())
    }
}
