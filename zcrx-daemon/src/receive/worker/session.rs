//! The life of one ring: from its registration to the last completion.

use std::mem::{self, MaybeUninit};

use io_uring::{cqueue, opcode, squeue, types};
use slab::Slab;
use tracing::{error, warn};

use super::Plan;
use super::backlog::Backlog;
use super::connection::Connection;
use super::op::Op;
use super::placement::Placement;
use super::retry::{Timer, Timers, Waiting};
use super::thread;
use super::watch::ifindex;
use crate::model::{ENTRIES, Selection, ZcrxCounts};
use crate::receive::ReceiveError;
use crate::receive::backend::{Backend, Selected, Shared, select};
use crate::receive::crew::{Joined, Seat};
use crate::receive::pool::Pool;
use crate::receive::refill::RingMemory;
use crate::receive::ring::{REAP_AT_ONCE, Reaped, Ring};
use crate::receive::stats::{Counters, Failed};

/// One ring with its registered queue.
///
/// Its life only: what it does about completions is in the modules beside this one. The ring is the first field, so it
/// is dropped before the memory that its requests point to; [`Session::close`] sees to it that there are none by then.
pub(super) struct Session<'p> {
    pub(super) ring: Ring,
    pub(super) backend: Box<dyn Backend>,
    pub(super) pool: Pool,
    pub(super) connections: Slab<Connection>,
    pub(super) backlog: Backlog,
    pub(super) plan: &'p Plan,
    selection: Selection,
    pub(super) counters: Counters,
    /// Counters at the begin of this session, for those that pool and backend count anew.
    before: Counters,
    /// What has failed since the last publication, with its errno.
    pub(super) failed: Vec<(Failed, i32)>,
    /// Receives that wait for a buffer.
    pub(super) waiting: Waiting,
    /// Receives that wait for room in the completion queue: armed again once it is empty.
    pub(super) crowded_out: Vec<u32>,
    pub(super) timers: Timers,
    pub(super) placement: Placement,
    /// Requests in flight, multishot ones included.
    pub(super) in_flight: usize,
    /// The ring's count of lost completions as last seen.
    lost: u32,
    /// Of the interface when the queue was registered.
    pub(super) ifindex: Option<u32>,
    pub(super) stopping: bool,
    /// For other threads to join, until they are told.
    shared: Option<Shared>,
    /// Of a thread that joined: which registration. It ends with that.
    joined: Option<u64>,
    /// Told to end although the thread goes on.
    leaving: bool,
}

impl<'p> Session<'p> {
    /// Makes a ring and registers a queue on it. `before` goes on being counted from.
    pub(super) fn open(plan: &'p Plan, before: &Counters) -> Result<Self, ReceiveError> {
        let ring = Ring::new(plan.config.cq_entries)?;
        let polls = thread::busy_poll(plan, &ring);
        // Before registering: one that changes in between is noticed.
        let ifindex = ifindex(&plan.config);
        let Selected { mut backend, mut pool, selection } = select(&ring, &plan.config)?;
        let shared = plan.seat.as_ref().and_then(|_| {
            let alone = |why: &String| {
                warn!(queue = plan.name, "one thread instead of {}: {why}", plan.config.workers);
            };
            backend.share(&ring, &mut pool).inspect_err(alone).ok()
        });
        let mut session = Self::new(plan, before, ring, Selected { backend, pool, selection });
        session.shared = shared;
        session.ifindex = ifindex;
        session.counters.ring.registrations += 1;
        session.counters.ring.busy_poll = plan.config.napi_busy_poll.filter(|_| polls);
        session.publish();
        Ok(session)
    }

    /// Makes a ring that receives from a queue which another thread registered.
    pub(super) fn join(plan: &'p Plan, joined: &Joined, before: &Counters) -> Result<Self, ReceiveError> {
        let ring = Ring::new(plan.config.cq_entries)?;
        let polls = thread::busy_poll(plan, &ring);
        let (backend, pool) = joined.shared.join(&ring)?;
        let selection = Selection { backend: Some(joined.shared.kind()), refused: Vec::new() };
        let mut session = Self::new(plan, before, ring, Selected { backend, pool, selection });
        session.joined = Some(joined.generation);
        session.counters.ring.busy_poll = plan.config.napi_busy_poll.filter(|_| polls);
        session.publish();
        Ok(session)
    }

    fn new(plan: &'p Plan, before: &Counters, ring: Ring, selected: Selected) -> Self {
        let Selected { backend, pool, selection } = selected;
        plan.stats.registered(
            &selection,
            backend.zcrx(),
            &pool,
            pool.refill_memory().entries(),
            ring.cq_entries(),
        );
        let hold_limit = plan.config.hold_limit();
        let hold_limit =
            (hold_limit < plan.config.area_bytes).then(|| plan.share(hold_limit) / pool.buffer_bytes());
        Self {
            backlog: Backlog::new(hold_limit, plan.share(plan.config.copy_out_bytes)),
            ring,
            backend,
            pool,
            connections: Slab::new(),
            plan,
            selection,
            counters: *before,
            before: *before,
            failed: Vec::new(),
            waiting: Waiting::default(),
            crowded_out: Vec::new(),
            timers: Timers::default(),
            placement: Placement::default(),
            in_flight: 0,
            lost: 0,
            ifindex: None,
            stopping: false,
            shared: None,
            joined: None,
            leaving: false,
        }
    }

    /// Whether another thread registered the queue.
    pub(super) const fn has_joined(&self) -> bool {
        self.joined.is_some()
    }

    /// What other threads join, if they can. Once.
    pub(super) fn take_shared(&mut self) -> Option<Shared> {
        self.shared.take()
    }

    /// The backend in use and the ones refused.
    pub(super) const fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Receives until told to stop. An error means that the ring does not work any more.
    pub(super) fn run(&mut self) -> Result<(), ReceiveError> {
        self.listen_for_wake()?;
        self.watch();
        self.look_around()?;
        // What came while there was no ring.
        self.take_handed()?;
        for index in 0..self.plan.listeners.len() {
            self.accept(index as u32)?;
        }
        let mut reaped = [const { MaybeUninit::uninit() }; REAP_AT_ONCE];
        while !self.plan.wake.stopped() && !self.leaving {
            self.ring.wait(self.timers.next())?;
            self.batch(&mut reaped)?;
        }
        Ok(())
    }

    /// Everything that waits in the ring, and then what is due once per batch.
    pub(super) fn batch(&mut self, reaped: &mut Reaped) -> Result<(), ReceiveError> {
        let depth = self.ring.cq_depth();
        self.plan.stats.cq_depth(depth);
        if depth > 0 {
            self.counters.ring.cq_depth.observe(&ENTRIES, u64::from(depth), 1);
        }
        self.pool.batch();
        if self.ring.cq_overflows_now() {
            self.counters.cq_overflows += 1;
        }
        loop {
            let cqes = self.ring.reap(reaped);
            if cqes.is_empty() {
                break;
            }
            for cqe in cqes {
                self.completion(cqe)?;
            }
        }
        let lost = self.ring.cq_lost();
        self.counters.cq_overflows += u64::from(lost.wrapping_sub(mem::replace(&mut self.lost, lost)));
        for index in mem::take(&mut self.crowded_out) {
            self.receive_again(index)?;
        }
        // Before settling, which sets the timer anew while there is something to wait for.
        while let Some(timer) = self.timers.due() {
            self.timer(timer)?;
        }
        self.settle()?;
        self.publish();
        self.plan.stats.cq_depth(0);
        Ok(())
    }

    fn completion(&mut self, cqe: &cqueue::Entry32) -> Result<(), ReceiveError> {
        let more = cqueue::more(cqe.flags());
        let Some(op) = Op::decode(cqe.user_data()) else {
            error!(
                queue = self.plan.name,
                user_data = cqe.user_data(),
                "a completion that belongs to nothing"
            );
            return Ok(());
        };
        // An event ends no request.
        if !more && op != Op::Event {
            self.in_flight -= 1;
        }
        match op {
            Op::Event => self.event(cqe.result()),
            Op::Wake => self.woken(cqe.result()),
            Op::Cancel => Ok(()),
            Op::Accept(listener) => self.accepted(listener, cqe.result(), more),
            Op::Receive(index) => self.received(index, cqe, more),
            Op::Write(index) => {
                self.ended_one(index);
                self.written(index, cqe.result())
            }
            Op::Connect(index) => {
                self.ended_one(index);
                self.connected(index, cqe.result())
            }
        }
    }

    fn listen_for_wake(&mut self) -> Result<(), ReceiveError> {
        let wake = opcode::PollAdd::new(types::Fd(self.plan.wake.fd()), libc::POLLIN as u32).build();
        // SAFETY: the request points to nothing.
        unsafe { self.push(wake, Op::Wake) }
    }

    /// Answers that this thread is alive. If it is to end, the loop finds out by itself.
    fn woken(&mut self, result: i32) -> Result<(), ReceiveError> {
        if self.stopping || self.plan.wake.stopped() || result < 0 {
            return Ok(());
        }
        self.plan.wake.answer();
        if self.plan.wake.breaks_ring() {
            self.ring.spoil()?;
        }
        self.listen_for_wake()?;
        self.look_around()?;
        self.take_handed()
    }

    /// Whether the other threads of the queue go on.
    fn look_around(&mut self) -> Result<(), ReceiveError> {
        let Some(seat) = &self.plan.seat else { return Ok(()) };
        let goes_on = seat.goes_on(self.joined).map_err(std::io::Error::other)?;
        self.leaving |= !goes_on;
        Ok(())
    }

    /// Publishes what was given back, and lets those try again that wait for it.
    fn settle(&mut self) -> Result<(), ReceiveError> {
        let mut ready = 0;
        loop {
            let stashed = self.pool.stashed();
            self.pool.publish();
            ready += self.backend.settle(&self.ring, &mut self.pool, self.waiting.len())?;
            // A ring smaller than what is given back at once is flushed as often as that takes: nobody else may ever ask
            // for what is stashed.
            self.pool.publish();
            if self.pool.stashed() == 0 || self.pool.stashed() == stashed {
                break;
            }
        }
        for _ in 0..ready {
            let Some(index) = self.waiting.pop() else { break };
            self.counters.ring.retries += 1;
            self.receive_again(index)?;
        }
        // Whoever nobody wakes looks again after a while: receives without a buffer where the kernel does not tell
        // of free ones, and stashed entries, for which the kernel makes room when it pleases.
        let waiting = self.waiting.len() > 0 && self.backend.retries_by_time();
        if (waiting || self.pool.stashed() > 0)
            && let Some(pause) = self.waiting.pause()
        {
            self.timers.after(pause, Timer::Receives);
        }
        Ok(())
    }

    fn timer(&mut self, timer: Timer) -> Result<(), ReceiveError> {
        match timer {
            Timer::Accept(listener) => self.accept(listener),
            Timer::Connect(index) => self.connect(index),
            Timer::Arm(event) => self.arm(event),
            Timer::Watch => self.look(),
            Timer::Receives => {
                let user_holds = self.pool.dispensed() > self.pool.returned() + self.pool.stashed()
                    || self.plan.seat.as_ref().is_some_and(Seat::anyone_holds);
                let go_on = self.waiting.pause_over(user_holds);
                let by_time = if self.backend.retries_by_time() { self.waiting.len() } else { 0 };
                for _ in 0..by_time {
                    let Some(index) = self.waiting.pop() else { break };
                    if go_on {
                        self.counters.ring.retries += 1;
                        self.receive_again(index)?;
                    } else {
                        self.counters.given_up += 1;
                        warn!(
                            queue = self.plan.name,
                            "no buffer to copy into for too long: giving a connection up; its data comes by another \
                             queue than this one, or area_bytes is less than the NIC's ring takes"
                        );
                        self.close_connection(index)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Queues a request that belongs to a connection.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push_for(
        &mut self,
        index: u32,
        entry: squeue::Entry,
        op: Op,
    ) -> Result<(), ReceiveError> {
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.in_flight += 1;
        }
        // SAFETY: the caller vouches for the request.
        unsafe { self.push(entry, op) }
    }

    /// Queues a request.
    ///
    /// # Safety
    /// As [`Ring::push`].
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry, op: Op) -> Result<(), ReceiveError> {
        // SAFETY: the caller vouches for the request.
        unsafe { self.ring.push(&entry.user_data(op.encode())) }?;
        self.in_flight += 1;
        Ok(())
    }

    fn ended_one(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.in_flight -= 1;
        }
    }

    pub(super) fn publish(&mut self) {
        if let Some(seat) = &self.plan.seat {
            seat.holds(self.pool.dispensed() - self.pool.returned() - self.pool.stashed());
        }
        let counters = &mut self.counters;
        counters.dispensed = self.before.dispensed + self.pool.dispensed();
        counters.returned = self.before.returned + self.pool.returned();
        counters.stashed = self.pool.stashed();
        counters.oldest = self.pool.holds().oldest();
        self.backlog.publish(&mut counters.ring.backlog);
        let before = &self.before.ring;
        counters.ring.refill_full = before.refill_full + self.pool.full();
        counters.ring.hold = before.hold.plus(self.pool.holds().held());
        counters.ring.refill_depth = before.refill_depth.plus(self.pool.depths());
        counters.ring.published = before.published.plus(self.pool.batches());
        let received = counters.bytes - self.before.bytes;
        let sum = |before: Option<u64>, now: Option<u64>| Some(before.unwrap_or(0) + now?);
        counters.copied_bytes = sum(self.before.copied_bytes, self.backend.copied_bytes(received));
        counters.ring.flushes = sum(before.flushes, self.backend.flushes());
        counters.area_bytes = self.pool.area_bytes();
        let zcrx = self.backend.zcrx_counts(&self.pool);
        let before = self.before.zcrx.unwrap_or_default();
        let given_up = counters.given_up;
        counters.zcrx = zcrx.map(|zcrx| ZcrxCounts { given_up, ..zcrx.after(&before) });
        counters.starvations = sum(self.before.starvations, self.backend.starvations());
        counters.starving = counters.starvations.map(|_| self.backend.starving());
        self.plan.stats.publish(counters, &mut self.failed);
    }
}
