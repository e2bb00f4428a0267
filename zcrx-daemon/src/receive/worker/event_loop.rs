//! The loop of one ring: reaps completions, hands payload to sinks, returns buffers, and submits requests.
//!
//! Nothing here blocks, and no handler fails in the middle of a batch. The loop handles each completion that it reaped, queues
//! requests, and ends after the batch if there was an error.

use std::mem;
use std::time::Duration;

use super::lending;
use super::report::Reporter;
use super::requests::Requests;
use super::retired::RetiredRings;
use super::retry::Retries;
use super::state::{Carried, Ended, Phase, State};
use super::timers::{Timer, Timers};
use crate::model::ENTRIES;
use crate::receive::backend::Backend;
use crate::receive::connections::accept::Acceptor;
use crate::receive::plan::Plan;
use crate::receive::prepared::Prepared;
use crate::receive::ring::Ring;

/// Largest number of completions before the loop publishes buffers: draining a full completion queue must not hold the area.
pub(super) const PUBLISH_EVERY: u32 = 128;

/// Pause before the loop arms an event again whose reason may persist: a starving NIC would raise it again at once, and a queue
/// without a device copies all payload.
const ARM_PAUSE: Duration = Duration::from_millis(100);

/// First pause between attempts to use a better backend; each further pause is twice as long.
const FIRST_UPGRADE_PAUSE: Duration = Duration::from_secs(1);

/// One ring with its queue.
///
/// The ring is the first field, so it is dropped before the memory that its requests point to; `lifecycle` makes sure that no
/// request is in flight by then.
pub(super) struct EventLoop<'p> {
    pub(super) ring: Ring,
    pub(super) state: State<'p>,
}

impl<'p> EventLoop<'p> {
    /// Creates a loop for a queue that is registered on `prepared`'s ring.
    pub(super) fn new(plan: &'p Plan, prepared: Prepared, joined: Option<u64>, carried: Carried) -> Self {
        let Prepared { ring, backend, mut pool, selection, ifindex, busy_poll } = prepared;
        lending::lend_area(plan, &ring, &mut pool);
        let Carried { counters, connections, backlog } = carried;
        plan.stats.registered(&selection, backend.zcrx(), &pool, ring.cq_entries());
        let mut state = State {
            plan,
            backend,
            pool,
            requests: Requests::default(),
            timers: Timers::new(),
            retries: Retries::default(),
            retry_timer: None,
            crowded_out: Vec::new(),
            connections,
            acceptor: Acceptor::default(),
            accepting: 0,
            backlog,
            reporter: Reporter::new(&counters),
            addresses: plan.addresses.clone(),
            resolving: false,
            events: Vec::new(),
            selection,
            ifindex,
            joined,
            phase: Phase::Running,
            drained: false,
            ended: None,
            upgrade_pause: FIRST_UPGRADE_PAUSE,
            upgrading: false,
            lost: 0,
            housekeeping: false,
            spoil: false,
        };
        if joined.is_none() {
            state.reporter.counters.ring.registrations += 1;
        }
        state.reporter.counters.ring.busy_poll = plan.config.napi_busy_poll.filter(|_| busy_poll);
        state.reporter.counters.ring.min_wait = ring.min_wait();
        state.area_changed();
        state.report();
        Self { ring, state }
    }

    /// Receives until there is a reason to end.
    pub(super) fn run(&mut self, retired: &mut RetiredRings) -> Ended {
        self.state.begin();
        loop {
            if let Some(ended) = self.state.why_to_end() {
                return ended;
            }
            if let Err(failure) = self.turn() {
                return Ended::Failed(failure.into());
            }
            if mem::take(&mut self.state.housekeeping) {
                retired.free_expired();
            }
        }
    }

    /// Waits for completions and handles them.
    pub(super) fn turn(&mut self) -> std::io::Result<()> {
        self.state.timers.arm(&mut self.state.requests);
        self.ring.submit_and_wait(self.state.requests.pending())?;
        self.batch()
    }

    /// As [`Self::turn`], but waits at most for the given time and ignores timers.
    pub(super) fn turn_within(&mut self, limit: Duration) -> std::io::Result<()> {
        self.ring.submit_and_wait_within(self.state.requests.pending(), limit)?;
        self.batch()
    }

    /// Handles all waiting completions. Makes no system call, so it works on a ring that has failed.
    pub(super) fn reap(&mut self) {
        let state = &mut self.state;
        loop {
            let mut taken = 0;
            let mut completions = self.ring.completions();
            while taken < PUBLISH_EVERY
                && let Some(completion) = completions.next()
            {
                taken += 1;
                state.completion(&completion);
            }
            // The kernel may use the slots again.
            drop(completions);
            state.pool.publish();
            if taken < PUBLISH_EVERY {
                break;
            }
        }
    }

    /// Handles all waiting completions, and then the tasks that are due once per batch.
    fn batch(&mut self) -> std::io::Result<()> {
        let depth = self.ring.cq_depth();
        let state = &mut self.state;
        state.plan.stats.cq_depth(depth);
        if depth > 0 {
            state.reporter.counters.ring.cq_depth.observe(&ENTRIES, u64::from(depth), 1);
        }
        if self.ring.cq_overflows_now() {
            state.reporter.counters.cq_overflows += 1;
        }
        state.pool.begin_batch();
        self.reap();
        let state = &mut self.state;
        let lost = self.ring.cq_lost();
        state.reporter.counters.cq_overflows +=
            u64::from(lost.wrapping_sub(mem::replace(&mut state.lost, lost)));
        for index in mem::take(&mut state.crowded_out) {
            state.receive_again(index);
        }
        for event in mem::take(&mut state.events) {
            state.backend.event(&self.ring, &mut state.pool, event)?;
            state.timers.after(ARM_PAUSE, Timer::Arm(event));
        }
        let now = state.pool.batch_time();
        while let Some(timer) = state.timers.due(now) {
            if let Timer::Arm(event) = timer
                && state.phase == Phase::Running
            {
                state.backend.arm(&self.ring, event)?;
            } else {
                state.timer(timer, now);
            }
        }
        state.take_answers(&self.ring)?;
        state.settle(&self.ring, now)?;
        if mem::take(&mut state.spoil) {
            self.ring.spoil()?;
        }
        if state.reporter.is_due(&mut state.timers) {
            state.report();
        }
        state.plan.stats.cq_depth(0);
        Ok(())
    }
}
