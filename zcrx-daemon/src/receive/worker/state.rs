//! The state of one ring's loop, and the dispatch of completions to its parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::cqueue;
use tracing::error;

use super::op::Op;
use super::report::{Published, Reporter};
use super::requests::Requests;
use super::retry::Retries;
use super::timers::{Timer, Timers};
use crate::model::Selection;
use crate::receive::ReceiveError;
use crate::receive::backend::AnyBackend;
use crate::receive::connections::Receive;
use crate::receive::connections::accept::Acceptor;
use crate::receive::connections::table::{SocketBudget, Table};
use crate::receive::plan::Plan;
use crate::receive::pool::Pool;
use crate::receive::prepared::Prepared;
use crate::receive::sinks::Backlog;
use crate::receive::stats::Counters;
use crate::receive::target::Addresses;

/// Interval of the health check.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);

/// Why a loop ended.
pub(super) enum Ended {
    /// The queue must stop; the loop has drained its connections as far as time allowed.
    Stopped,
    /// The group's leader has closed the queue.
    Left,
    /// The next zcrxd continues the connections.
    HandOver,
    /// A better backend is ready.
    Upgrade(Box<Prepared>),
    /// The ring or the queue does not work any more.
    Failed(ReceiveError),
}

/// Phase of a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Takes no new connections; sinks finish.
    Draining,
    /// Ends all requests, for a loop that continues the connections.
    Detaching,
    /// Ends all requests.
    Closing,
}

impl Phase {
    /// Whether the loop submits no further request.
    pub(super) const fn ends_requests(self) -> bool {
        matches!(self, Self::Detaching | Self::Closing)
    }

    /// Whether new connections end after what TCP has acknowledged so far.
    pub(super) const fn ends_connections(self) -> bool {
        matches!(self, Self::Draining | Self::Closing)
    }
}

/// State that a loop takes over from the previous loop.
pub(super) struct Carried {
    pub(super) counters: Counters,
    pub(super) connections: Table,
    pub(super) backlog: Backlog,
}

/// All state that a completion may change. Each part owns its state; this struct connects the parts.
pub(super) struct State<'p> {
    pub(super) plan: &'p Plan,
    pub(super) backend: AnyBackend,
    pub(super) pool: Pool,
    pub(super) requests: Requests,
    pub(super) timers: Timers,
    pub(super) retries: Retries,
    /// When the timer for the earliest retry is due.
    pub(super) retry_timer: Option<Instant>,
    /// Receives that wait for room in the completion queue: armed again once it is empty.
    pub(super) crowded_out: Vec<u32>,
    pub(super) connections: Table,
    pub(super) acceptor: Acceptor,
    /// Accept requests in flight.
    pub(super) accepting: usize,
    pub(super) backlog: Backlog,
    pub(super) reporter: Reporter,
    pub(super) addresses: Option<Arc<Addresses>>,
    pub(super) resolving: bool,
    /// Events that the kernel reported in this batch.
    pub(super) events: Vec<u32>,
    pub(super) selection: Selection,
    pub(super) ifindex: Option<u32>,
    /// Generation of the queue that this loop joined; `None` if it registered the queue.
    pub(super) joined: Option<u64>,
    pub(super) phase: Phase,
    /// Whether the time for draining is over.
    pub(super) drained: bool,
    pub(super) ended: Option<Ended>,
    pub(super) upgrade_pause: Duration,
    pub(super) upgrading: bool,
    /// The ring's count of lost completions as last seen.
    pub(super) lost: u32,
    /// A health check has begun since the last batch.
    pub(super) housekeeping: bool,
    /// A test asks for a broken ring.
    pub(super) spoil: bool,
}

impl State<'_> {
    /// Handles one completion. Payload for an open connection is the hot path.
    #[inline]
    pub(super) fn completion(&mut self, cqe: &cqueue::Entry32) {
        let (user_data, more) = (cqe.user_data(), cqueue::more(cqe.flags()));
        if user_data >> 32 == Op::RECEIVE && cqe.result() > 0 && more {
            self.payload(user_data as u32, cqe);
        } else {
            self.other(user_data, cqe, more);
        }
    }

    /// Handles a completion off the hot path.
    #[cold]
    pub(super) fn other(&mut self, user_data: u64, cqe: &cqueue::Entry32, more: bool) {
        let Some(op) = Op::decode(user_data) else {
            error!(queue = self.plan.name, user_data, "a completion that belongs to nothing");
            return;
        };
        // An event ends no request.
        if !more && op != Op::Event {
            self.requests.ended();
        }
        match op {
            Op::Event => self.events.extend(u32::try_from(cqe.result())),
            Op::Wake => self.woken(cqe.result()),
            Op::Cancel => {}
            Op::Timeout => self.timers.fired(),
            Op::Accept(listener) => self.accepted(listener, cqe.result(), more),
            Op::Receive(index) => self.received(index, cqe, more),
            Op::Sink(index, op) => self.sink_completed(index, op, cqe),
        }
    }

    /// Begins to receive: listeners, connections taken over, and what waits in the inbox.
    pub(super) fn begin(&mut self) {
        self.listen_for_wake();
        self.timers.after(HEALTH_PERIOD, Timer::Health);
        self.look_around();
        self.plan_upgrade();
        for index in self.connections.indices() {
            if self.connections.get(index).is_some_and(|connection| connection.receive == Receive::Waiting) {
                self.receive_again(index);
            }
            self.poll_sink(index);
            self.resume(index);
        }
        self.take_handed();
        for listener in 0..self.plan.listeners.len() as u32 {
            self.accept(listener);
        }
    }

    /// Adapts the limits that are shares of the area to its new size.
    pub(super) fn area_changed(&mut self) {
        let area = self.pool.area_bytes();
        self.backlog.set_hold_limit(self.plan.hold_limit(area, self.pool.buffer_bytes()));
        let budget = self.on_device().then(|| SocketBudget::of_area(self.plan.share(area)));
        self.connections.set_budget(budget);
    }

    pub(super) fn timer(&mut self, timer: Timer, now: Instant) {
        match timer {
            Timer::Accept(listener) => self.accept(listener),
            Timer::Sink(index) => self.poll_sink(index),
            Timer::Health => self.check_health(),
            Timer::Publish => self.report(),
            Timer::Upgrade => self.try_upgrade(),
            Timer::Drained => self.drained = true,
            Timer::Receives => {
                if self.retry_timer.is_some_and(|due| due <= now) {
                    self.retry_timer = None;
                }
            }
            // An event that is not armed again while the queue ends.
            Timer::Arm(_) => {}
        }
    }

    /// Publishes the counters to other threads.
    pub(super) fn report(&mut self) {
        if let Some(slot) = &self.plan.slot {
            slot.holds(self.backlog.held());
        }
        let published = Published {
            pool: &self.pool,
            backend: &self.backend,
            backlog: &self.backlog,
            connections: &self.connections,
        };
        self.reporter.publish(self.plan, &published, &mut self.timers);
    }

    /// The last report of this loop.
    pub(super) fn finish_report(&mut self) {
        let published = Published {
            pool: &self.pool,
            backend: &self.backend,
            backlog: &self.backlog,
            connections: &self.connections,
        };
        self.reporter.finish(self.plan, &published);
    }

    /// Whether the connections go on in the next zcrxd. Payload in the sockets of a hardware queue ends with the queue.
    fn hands_over(&self) -> bool {
        let ends = match &self.ended {
            None | Some(Ended::Upgrade(_)) => self.plan.wake.stopped(),
            // The leader was faster.
            Some(Ended::Left) => true,
            Some(_) => false,
        };
        ends && self.plan.wake.has_successor()
            && self.phase == Phase::Running
            && (!self.on_device() || self.survives())
    }

    /// Whether the hardware queue goes on in the next zcrxd.
    pub(super) fn survives(&self) -> bool {
        self.plan.slot.is_none() && self.backend.can_survive(&self.pool)
    }

    /// Why the loop should end now, if it should.
    pub(super) fn why_to_end(&mut self) -> Option<Ended> {
        if self.hands_over() {
            self.plan.wake.step();
            return Some(Ended::HandOver);
        }
        if let Some(ended) = self.ended.take() {
            return Some(ended);
        }
        if !self.plan.wake.stopped() {
            return None;
        }
        self.plan.wake.step();
        if self.phase == Phase::Running {
            self.begin_drain();
        }
        let idle = self.connections.len() == 0 && self.accepting == 0;
        let over = idle || self.drained || self.plan.wake.aborted();
        over.then_some(Ended::Stopped)
    }
}
