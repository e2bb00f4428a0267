//! Sinks: submits their requests, follows their steps, and closes connections when they are done.

use std::mem;
use std::time::Duration;

use io_uring::cqueue;
use tracing::{debug, error, warn};

use super::op::{Op, SinkOp};
use super::state::{Phase, State};
use super::timers::Timer;
use crate::receive::choices::SinkConfig;
use crate::receive::connections::Connection;
use crate::receive::error::errno_name;
use crate::receive::inbox::Answer;
use crate::receive::plan::Plan;
use crate::receive::sinks::{Sink, Step, Storage};
use crate::receive::stats::Failed;
use crate::receive::target::Addresses;

impl State<'_> {
    /// Polls a sink: submits its requests, and closes the connection when the sink has finished.
    pub(super) fn drive(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.closing {
            return;
        }
        let step = connection.sink.advance();
        let socket = connection.fd();
        if !self.phase.ends_requests() {
            while let Some((entry, op)) = connection.sink.next(socket, &self.pool) {
                connection.in_flight += 1;
                // SAFETY: the sink owns the memory that the request points to, and is not dropped before the request has
                // ended: a connection is removed only when no request is in flight.
                unsafe { self.requests.push(entry, Op::Sink(index, op)) };
            }
        }
        let done = connection.sink.is_done();
        self.step(index, step);
        if done {
            self.close_connection(index);
        }
    }

    /// Handles a completion of a sink's request: its result, its notification, or both.
    pub(super) fn sink_completed(&mut self, index: u32, op: SinkOp, cqe: &cqueue::Entry32) {
        let (result, last) = (cqe.result(), !cqueue::more(cqe.flags()));
        let connections = self.connections.len();
        let Some(connection) = self.connections.get_mut(index) else { return };
        connection.in_flight -= u32::from(last);
        let mut storage = Storage {
            pool: &mut self.pool,
            backlog: &mut self.backlog,
            statistics: &mut self.reporter.counters.ring.backlog,
            verified: &mut self.reporter.verified,
            connections,
        };
        let is_notification = cqueue::notif(cqe.flags());
        let step = if is_notification {
            Step::Continue
        } else {
            connection.sink.completed(op, result, &mut storage)
        };
        if let SinkOp::Send(slot) = op
            && last
        {
            // A send that failed at once has no notification, and its result says nothing about copies.
            connection.sink.released(slot, if is_notification { result } else { 0 }, &mut storage);
        }
        if self.forget_if_closed(index) {
            return;
        }
        self.step(index, step);
        self.drive(index);
        self.resume(index);
    }

    pub(super) fn step(&mut self, index: u32, step: Step) {
        match step {
            Step::Continue => {}
            Step::PollAfter(pause) => self.timers.after(pause, Timer::Sink(index)),
            Step::ConnectAfter(pause, errno) => self.connect_after(index, pause, errno),
            Step::Resolve(pause, errno) => {
                self.resolve();
                self.connect_after(index, pause, errno);
            }
            Step::Failed(errno) => self.sink_failed(index, errno),
        }
    }

    pub(super) fn connect_after(&mut self, index: u32, pause: Duration, errno: i32) {
        let (name, errno) = (self.plan.destination(), errno_name(errno));
        warn!(queue = self.plan.name, errno, "cannot connect to {name}: next attempt in {pause:?}");
        self.reporter.counters.ring.connect_retries += 1;
        self.timers.after(pause, Timer::Sink(index));
    }

    /// Starts a helper thread that resolves the destination's name again.
    pub(super) fn resolve(&mut self) {
        let SinkConfig::Forward(destination) = &self.plan.config.sink else { return };
        if mem::replace(&mut self.resolving, true) {
            return;
        }
        let destination = destination.clone();
        self.plan.inbox.offload("resolve", move || Answer::Addresses(Addresses::resolve(&destination)));
    }

    pub(super) fn sink_failed(&mut self, index: u32, errno: i32) {
        let Some(connection) = self.connections.get(index) else { return };
        if connection.closing {
            return;
        }
        if self.phase == Phase::Running {
            self.reporter.failed(Failed::Sink, errno);
            let what = match connection.sink.describe() {
                Some(file) => format!("cannot write to {file}"),
                None => format!("lost {}", self.plan.destination()),
            };
            let errno = errno_name(errno);
            error!(queue = self.plan.name, peer = connection.peer, errno, "{what}: ending the connection");
        }
        self.close_connection(index);
    }

    pub(super) fn poll_sink(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if connection.closing {
            return;
        }
        if let Some(addresses) = &self.addresses {
            connection.sink.readdress(addresses);
        }
        let step = connection.sink.poll();
        self.step(index, step);
        self.drive(index);
    }

    /// Ends a connection: at once, or when its requests have ended.
    pub(super) fn close_connection(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index) else { return };
        if mem::replace(&mut connection.closing, true) {
            return;
        }
        connection.shut_down();
        if let Some(op) = connection.sink.interrupt() {
            self.requests.cancel(Op::Sink(index, op));
        }
        self.forget_if_closed(index);
    }

    /// Removes a closing connection if none of its requests is in flight. Returns whether it is closing or gone.
    pub(super) fn forget_if_closed(&mut self, index: u32) -> bool {
        let Some(connection) = self.connections.get(index) else { return true };
        if !connection.closing || connection.in_flight > 0 {
            return connection.closing;
        }
        let connections = self.connections.len();
        let Some(mut connection) = self.connections.remove(index) else { return true };
        self.retries.remove(index);
        self.reporter.counters.ring.lost_bytes += log_loss(self.plan, &connection);
        let mut storage = Storage {
            pool: &mut self.pool,
            backlog: &mut self.backlog,
            statistics: &mut self.reporter.counters.ring.backlog,
            verified: &mut self.reporter.verified,
            connections,
        };
        connection.sink.clear(&mut storage);
        self.reporter.urgent();
        self.reporter.counters.ring.backlog.paused -= u64::from(connection.paused);
        debug!(queue = self.plan.name, "connection closed");
        true
    }
}

/// Returns how many acknowledged bytes a connection has lost, and logs them.
pub(super) fn log_loss(plan: &Plan, connection: &Connection) -> u64 {
    let lost = connection.lost();
    if lost > 0 {
        let sink = connection.sink.describe().unwrap_or_else(|| plan.destination());
        warn!(
            queue = plan.name,
            peer = connection.peer,
            lost,
            "connection closed: TCP acknowledged {lost} bytes that did not reach {sink}, or whose arrival {sink} did not \
             confirm"
        );
    }
    lost
}
