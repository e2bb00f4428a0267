//! Hands the payload of receives to sinks.

use io_uring::cqueue;
use tracing::error;

use super::state::State;
use crate::receive::backend::Backend;
use crate::receive::pool::Buffer;
use crate::receive::sinks::{Flow, Sink, Storage};

impl State<'_> {
    /// Hands the payload of a completion to the connection's sink.
    ///
    /// Runs once per completion, so what only other sinks, bundles and errors need is in functions of its own.
    #[inline]
    pub(super) fn payload(&mut self, index: u32, cqe: &cqueue::Entry32) {
        let Some(connection) = self.connections.get_mut(index) else {
            error!(queue = self.plan.name, index, "a receive completed on no connection");
            return;
        };
        connection.heard = true;
        connection.attempts.progress();
        let total = cqe.result() as u32;
        let Some(buffer) = self.backend.payload(cqe, &mut self.pool) else {
            return self.outside_the_area(index, total);
        };
        let left = total - buffer.len() as u32;
        self.reporter.counters.completions += 1;
        self.reporter.counters.bytes += buffer.len() as u64;
        let mut flow = Flow::Continue;
        if connection.sink.discards() && !connection.closing {
            self.pool.give_back(buffer);
        } else {
            flow = self.consume(index, buffer);
        }
        if left > 0 || flow != Flow::Continue {
            self.after_the_first(index, left, flow);
        }
    }

    /// Hands a buffer to the connection's sink.
    #[inline(never)]
    fn consume(&mut self, index: u32, buffer: Buffer) -> Flow {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(index) else {
            self.pool.give_back(buffer);
            return Flow::Continue;
        };
        if connection.closing {
            connection.dropped += buffer.len() as u64;
            self.pool.give_back(buffer);
            return Flow::Continue;
        }
        let mut storage = Storage {
            pool: &mut self.pool,
            backlog: &mut self.backlog,
            statistics: &mut self.reporter.counters.ring.backlog,
            verified: &mut self.reporter.verified,
            connections,
        };
        connection.sink.consume(buffer, &mut storage)
    }

    /// Hands the other buffers of a bundle to the sink, and follows its answers.
    #[inline(never)]
    fn after_the_first(&mut self, index: u32, mut left: u32, mut flow: Flow) {
        while left > 0 {
            let Some(buffer) = self.backend.more_payload(left, &mut self.pool) else {
                return self.outside_the_area(index, left);
            };
            left -= buffer.len() as u32;
            self.reporter.counters.completions += 1;
            self.reporter.counters.bytes += buffer.len() as u64;
            let next = self.consume(index, buffer);
            if next != Flow::Continue && flow != Flow::Pause {
                flow = next;
            }
        }
        match flow {
            Flow::Continue => {}
            Flow::Submit => self.drive(index),
            Flow::Pause => {
                self.pause(index);
                self.drive(index);
            }
        }
    }

    /// Handles a completion with payload that names no buffer of the area.
    #[cold]
    fn outside_the_area(&mut self, index: u32, bytes: u32) {
        if let Some(connection) = self.connections.get_mut(index) {
            connection.dropped += u64::from(bytes);
        }
        self.receive_failed(index, libc::EFAULT);
    }
}
