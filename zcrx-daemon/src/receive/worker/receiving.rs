//! Arms receives, and handles each way in which a receive can end.

use std::time::{Duration, Instant};

use io_uring::cqueue;
use tracing::{debug, error, warn};

use super::op::Op;
use super::state::State;
use super::timers::Timer;
use crate::receive::backend::{Backend, Completion};
use crate::receive::connections::Receive;
use crate::receive::error::errno_name;
use crate::receive::group::WorkerSlot;
use crate::receive::inbox::Answer;
use crate::receive::ring::Ring;
use crate::receive::sinks::Sink;
use crate::receive::stats::Failed;

/// Pause before the worker publishes stashed entries again, where zcrxd cannot flush the refill ring.
const STASH_PAUSE: Duration = Duration::from_millis(10);

impl State<'_> {
    /// Handles a completion that ends a receive or brings no payload.
    pub(super) fn received(&mut self, index: u32, cqe: &cqueue::Entry32, more: bool) {
        let Some(connection) = self.connections.get_mut(index) else {
            error!(queue = self.plan.name, index, "a receive completed on no connection");
            return;
        };
        connection.heard = true;
        if !more {
            connection.in_flight -= 1;
            connection.receive = Receive::Waiting;
        }
        let closing = connection.closing;
        if cqe.result() > 0 {
            self.payload(index, cqe);
            if !more && !self.forget_if_closed(index) {
                self.receive_again(index);
            }
            return;
        }
        let completion = self.backend.completion(cqe, &mut self.pool);
        match completion {
            // zcrxd itself causes the errors of a connection that it closes.
            _ if closing => {
                self.forget_if_closed(index);
            }
            Completion::End => self.stream_ended(index),
            // zcrxd cancelled the receive for a pause, which may be over by now.
            Completion::Nothing | Completion::Failed(libc::ECANCELED) => self.receive_again(index),
            Completion::QueueFull => {
                self.reporter.failed(Failed::Receive, libc::ENOSPC);
                self.crowded_out.push(index);
            }
            Completion::NoBuffers(errno) => {
                self.reporter.failed(Failed::Receive, errno);
                self.wait_for_buffer(index);
            }
            Completion::Failed(errno) => self.receive_failed(index, errno),
        }
    }

    /// Handles a receive that found no buffer: arms it again later, and closes the connection after too many attempts.
    pub(super) fn wait_for_buffer(&mut self, index: u32) {
        let held = self.plan.slot.as_ref().map_or_else(|| self.backlog.held(), WorkerSlot::held_by_all);
        let sinks_hold_the_area = held * 2 > self.pool.buffers();
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.paused {
            return;
        }
        let pause = connection.attempts.pause();
        connection.attempts.attempt(sinks_hold_the_area || !self.backend.retries_by_time());
        if !connection.attempts.exhausted() {
            self.retries.push(index, Instant::now() + pause);
            return;
        }
        self.reporter.counters.given_up += 1;
        warn!(
            queue = self.plan.name,
            peer = connection.peer,
            "connection given up: for 16 s its data could not be copied to a free buffer; it arrives by another queue than \
             this one, or area is less than the NIC's ring takes"
        );
        self.close_connection(index);
    }

    /// Handles a permanent error of a receive. Payload received before it still goes to the sink.
    pub(super) fn receive_failed(&mut self, index: u32, errno: i32) {
        self.reporter.failed(Failed::Receive, errno);
        let Some(connection) = self.connections.get_mut(index) else { return };
        let means = meaning(errno);
        warn!(
            queue = self.plan.name,
            peer = connection.peer,
            errno = errno_name(errno),
            "connection failed: {means}"
        );
        if connection.sink.keeps_payload() {
            self.stream_ended(index);
        } else {
            self.close_connection(index);
        }
    }

    /// Handles the end of the stream: the sink finishes, and then the connection closes.
    pub(super) fn stream_ended(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.receive = Receive::Ended;
        connection.sink.finish();
        // Report before the sink answers: a sender that has its verdict then finds the counters current.
        self.reporter.urgent();
        self.drive(index);
    }

    /// Arms a connection's receive.
    pub(super) fn receive(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if self.phase.ends_requests() || connection.closing {
            return;
        }
        connection.receive = Receive::Armed;
        connection.in_flight += 1;
        let entry = self.backend.receive(connection.fd());
        // SAFETY: a receive writes to the area, which outlives the ring's requests.
        unsafe { self.requests.push(entry, Op::Receive(index)) };
    }

    /// Arms a receive whose multishot ended, unless the connection waits for its sink.
    pub(super) fn receive_again(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index) else { return };
        if connection.receive == Receive::Waiting && !connection.closing && !connection.paused {
            self.reporter.counters.rearms += 1;
            self.receive(index);
        }
    }

    /// Stops receiving from a connection until its sink has caught up. The kernel then keeps arriving data in the socket. When
    /// the socket is full, TCP's window stops the sender.
    pub(super) fn pause(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.paused || connection.receive == Receive::Ended {
            return;
        }
        connection.paused = true;
        self.reporter.urgent();
        self.reporter.counters.ring.backlog.pauses += 1;
        self.reporter.counters.ring.backlog.paused += 1;
        debug!(queue = self.plan.name, index, "the sink is too slow: connection paused");
        if connection.receive == Receive::Armed {
            self.requests.cancel(Op::Receive(index));
        }
    }

    /// Resumes a paused connection if its sink has caught up.
    pub(super) fn resume(&mut self, index: u32) {
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(index) else { return };
        if !connection.paused || !connection.sink.has_room(&self.backlog, connections) {
            return;
        }
        connection.paused = false;
        self.reporter.urgent();
        self.reporter.counters.ring.backlog.paused -= 1;
        self.receive_again(index);
    }

    pub(super) fn retry(&mut self, index: u32) {
        self.reporter.counters.ring.retries += 1;
        self.receive_again(index);
    }

    /// Publishes returned buffers, and arms receives that wait for buffers again.
    pub(super) fn settle(&mut self, ring: &Ring, now: Instant) -> std::io::Result<()> {
        let by_time = self.backend.retries_by_time();
        let due = if by_time { self.retries.due(now) } else { self.retries.len() };
        let mut ready = 0;
        loop {
            let stashed = self.pool.stashed();
            ready += self.backend.settle(ring, &mut self.pool, due)?;
            // If the stash is larger than the refill ring, flush the ring repeatedly: without further completions nothing else
            // would publish the stash.
            self.pool.publish();
            if self.pool.stashed() == 0 || self.pool.stashed() == stashed {
                break;
            }
        }
        self.pool.end_batch();
        if by_time {
            while let Some(index) = self.retries.pop_due(now) {
                self.retry(index);
            }
        } else {
            for _ in 0..ready {
                let Some(index) = self.retries.pop() else { break };
                self.retry(index);
            }
        }
        if let Some((bytes, buffer_bytes)) = self.backend.wanted_area() {
            self.plan
                .inbox
                .offload("area", move || Answer::Area(crate::receive::backend::map(bytes, buffer_bytes)));
        }
        let earliest = self.retries.earliest().filter(|_| by_time);
        let stash = (self.pool.stashed() > 0).then(|| now + STASH_PAUSE);
        if let Some(due) = earliest.into_iter().chain(stash).min()
            && self.retry_timer.is_none_or(|timer| due < timer)
        {
            self.retry_timer = Some(due);
            self.timers.after(due.saturating_duration_since(Instant::now()), Timer::Receives);
        }
        Ok(())
    }
}

/// Explains an errno of a receive whose name is not clear enough.
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
