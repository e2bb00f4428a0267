//! The end of a loop: drained, closed, or continued by the next loop. Accounts for every request in flight.

use std::io;
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use socket2::Socket;
use tracing::{error, info};

use super::delivering::log_loss;
use super::event_loop::EventLoop;
use super::op::Op;
use super::retired::RetiredRing;
use super::state::{Carried, Phase, State};
use super::timers::Timer;
use crate::receive::backend::SurvivingQueue;
use crate::receive::connections::accept;
use crate::receive::connections::close::refuse;
use crate::receive::connections::table::Table;
use crate::receive::handover::Handed;
use crate::receive::plan::Plan;
use crate::receive::sinks::{Backlog, Sink, Storage};
use crate::receive::stats::Counters;

/// How long zcrxd waits for cancelled requests while none of them ends.
const CANCEL_LIMIT: Duration = Duration::from_millis(700);

impl State<'_> {
    /// Stops taking connections. Data that the kernel has acknowledged to senders still goes to the sinks, which get
    /// `drain_timeout` to pass the data on.
    pub(super) fn begin_drain(&mut self) {
        self.phase = Phase::Draining;
        for listener in 0..self.plan.listeners.len() as u32 {
            self.requests.cancel(Op::Accept(listener));
        }
        for socket in waiting(self.plan) {
            self.welcome(socket);
        }
        for socket in self.acceptor.take_unplaced() {
            self.welcome(socket);
        }
        self.take_handed();
        for (_, connection) in self.connections.iter_mut() {
            connection.cut();
        }
        let (connections, limit) = (self.connections.len(), self.plan.config.drain_timeout);
        if connections > 0 {
            info!(queue = self.plan.name, connections, "stopping: sinks have {limit:?} to finish");
        }
        self.timers.after(limit, Timer::Drained);
    }
}

impl EventLoop<'_> {
    /// Ends every connection, reaps every outstanding completion, and returns all buffers. Returns the memory of requests that do
    /// not end, for the caller to keep.
    pub(super) fn close(mut self) -> (Counters, Option<RetiredRing>) {
        self.state.phase = Phase::Closing;
        for index in self.state.connections.indices() {
            self.state.close_connection(index);
            self.state.plan.wake.step();
        }
        self.cancel_all();
        let (counters, _, retired) = self.leave();
        (counters, retired)
    }

    /// Exports a hardware queue for the next zcrxd; `None` for another queue.
    pub(super) fn leave_queue(&self) -> io::Result<Option<SurvivingQueue>> {
        let state = &self.state;
        let Some(ifindex) = state.ifindex.filter(|_| state.on_device()) else { return Ok(None) };
        state.backend.survive(&self.ring, &state.pool, &state.plan.config, ifindex).map(Some)
    }

    /// Ends every request and keeps the connections for the next loop. Copies payload that waits for sinks out of the area. A
    /// connection whose requests do not end is closed.
    pub(super) fn detach(mut self) -> (Carried, Option<RetiredRing>) {
        self.state.phase = Phase::Detaching;
        self.cancel_all();
        let state = &mut self.state;
        for socket in state.acceptor.take_unplaced() {
            state.welcome(socket);
        }
        let mut kept = Table::default();
        for index in state.connections.indices() {
            if state.connections.get(index).is_none_or(|connection| {
                connection.in_flight > connection.sink.lending() || connection.closing
            }) {
                continue;
            }
            let connections = state.connections.len();
            let Some(mut connection) = state.connections.remove(index) else { continue };
            let mut storage = Storage {
                pool: &mut state.pool,
                backlog: &mut state.backlog,
                statistics: &mut state.reporter.counters.ring.backlog,
                verified: &mut state.reporter.verified,
                connections,
            };
            connection.sink.leave_area(&mut storage);
            // Notifications that are outstanding arrive at this ring, if at all.
            connection.in_flight = 0;
            kept.insert(connection);
        }
        let paused = state.reporter.counters.ring.backlog.paused;
        for index in state.connections.indices() {
            state.close_connection(index);
        }
        // Entries that did not fit into the refill ring would be lost with this ring.
        if let Err(error) = self.state.settle(&self.ring, Instant::now()) {
            error!(queue = self.state.plan.name, %error, "buffers cannot be returned");
        }
        let (mut counters, backlog, retired) = self.leave();
        counters.connections = kept.len() as u64;
        counters.ring.backlog.paused = paused;
        (Carried { counters, connections: kept, backlog }, retired)
    }

    /// Cancels all requests, and reaps completions until no request is in flight, or none ends within the time limit. Many
    /// requests, or a busy machine, may need longer.
    fn cancel_all(&mut self) {
        let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
        // SAFETY: the request points to nothing.
        unsafe { self.state.requests.push(cancel, Op::Cancel) };
        let (mut end, mut fewest) = (Instant::now() + CANCEL_LIMIT, usize::MAX);
        while self.state.requests.in_flight() > 0 {
            if self.state.requests.in_flight() < fewest {
                (end, fewest) = (Instant::now() + CANCEL_LIMIT, self.state.requests.in_flight());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if let Err(error) = self.turn_within(left) {
                error!(queue = self.state.plan.name, %error, "the ring's requests cannot be ended");
                self.reap();
                break;
            }
            self.state.plan.wake.step();
        }
        self.state.pool.publish();
    }

    /// Returns the last counters, the backlog, and memory that must be kept.
    fn leave(mut self) -> (Counters, Backlog, Option<RetiredRing>) {
        let state = &mut self.state;
        for socket in state.acceptor.take_unplaced() {
            state.reporter.counters.ring.lost_bytes += refuse(&state.plan.name, &socket);
        }
        for (_, connection) in state.connections.iter_mut() {
            state.reporter.counters.ring.lost_bytes += log_loss(state.plan, connection);
            state.plan.wake.step();
        }
        state.finish_report();
        let mut counters = state.reporter.counters;
        // The kernel took back the held buffers with the queue, without a refill entry.
        counters.reclaimed = counters.dispensed - counters.returned;
        counters.connections = 0;
        counters.ring.backlog.paused = 0;
        counters.stashed = 0;
        counters.oldest = None;
        if let Some(slot) = &state.plan.slot {
            slot.holds(0);
        }
        let in_flight = state.requests.in_flight();
        let Self { ring, state } = self;
        drop(ring);
        let State { plan, backend, pool, connections, backlog, .. } = state;
        if in_flight == 0 {
            return (counters, backlog, None);
        }
        error!(queue = plan.name, requests = in_flight, "requests do not end: their memory is kept");
        (counters, backlog, Some(RetiredRing { backend, pool, connections }))
    }
}

impl Carried {
    /// Creates the state of a first loop: connections of the zcrxd before, if any.
    pub(super) fn new(plan: &Plan, counters: &Counters) -> Self {
        let mut backlog = Backlog::new(None, plan.share(plan.config.copy_out_bytes));
        let (mut connections, mut counters) = (Table::default(), *counters);
        for handed in plan.taken_over.take() {
            let (sink, addresses) = (&plan.config.sink, plan.addresses.as_ref());
            match handed.into_connection(&plan.name, sink, addresses, &mut backlog) {
                Ok(connection) => {
                    connections.insert(connection);
                }
                Err(lost) => counters.ring.lost_bytes += lost,
            }
        }
        Self { counters, connections, backlog }
    }

    /// Leaves the connections to the next zcrxd.
    pub(super) fn hand_over(mut self, plan: &Plan) -> Counters {
        let mut kept = Table::default();
        for index in self.connections.indices() {
            let Some(connection) = self.connections.remove(index) else { continue };
            match Handed::of(connection) {
                Ok(handed) => plan.left.put([handed]),
                Err(connection) => {
                    kept.insert(*connection);
                }
            }
            plan.wake.step();
        }
        self.connections = kept;
        self.abandon(plan)
    }

    /// Ends the connections without a ring. Counts what they lose.
    pub(super) fn abandon(mut self, plan: &Plan) -> Counters {
        for (_, connection) in self.connections.iter_mut() {
            connection.shut_down();
            self.counters.ring.lost_bytes += log_loss(plan, connection);
            plan.wake.step();
        }
        self.counters.connections = 0;
        self.counters
    }
}

/// Starts no further connection on the listening sockets, and returns those that wait there. Leaves them to the next zcrxd if the
/// sockets outlive this one.
fn waiting(plan: &Plan) -> Vec<Socket> {
    if plan.wake.has_successor() {
        return Vec::new();
    }
    plan.listeners.iter().flat_map(accept::drain).collect()
}

/// Leaves the connections that no loop took to the next zcrxd, if it continues those of the loop, or refuses them, because the
/// queue ends: those in the listeners' queues and in the inbox. Counts what they lose, and publishes the last counters.
pub(super) fn end_waiting(plan: &Plan, mut counters: Counters, hands_over: bool) {
    for socket in waiting(plan).into_iter().chain(plan.inbox.end()) {
        if hands_over {
            plan.left.put([Handed::fresh(socket)]);
        } else {
            counters.ring.lost_bytes += refuse(&plan.name, &socket);
        }
    }
    plan.stats.publish(&counters, &mut Vec::new());
}
