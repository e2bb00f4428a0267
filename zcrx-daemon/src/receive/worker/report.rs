//! Counters of a worker, and their publication to other threads.

use std::time::Duration;

use super::timers::{Timer, Timers};
use crate::model::ZcrxCounts;
use crate::receive::backend::{AnyBackend, Backend};
use crate::receive::connections::table::Table;
use crate::receive::plan::Plan;
use crate::receive::pool::Pool;
use crate::receive::sinks::{Backlog, Verified};
use crate::receive::stats::{Counters, Failed};

/// Largest number of completions between two publications.
const MOST_COMPLETIONS: u64 = 1000;
/// Longest time between two publications.
const LONGEST: Duration = Duration::from_millis(100);
/// Pause after another thread held the lock.
const CONTENDED: Duration = Duration::from_millis(5);

/// Counters of one ring.
pub(super) struct Reporter {
    pub(super) counters: Counters,
    pub(super) verified: Verified,
    /// Counters when the ring was created: pool and backend count from 0.
    before: Counters,
    /// Failures since the last publication, with their positive errno.
    failures: Vec<(Failed, i32)>,
    /// `completions` at the last publication.
    published: u64,
    scheduled: bool,
    /// Whether the next batch must be published at once.
    urgent: bool,
}

impl Reporter {
    pub(super) fn new(before: &Counters) -> Self {
        Self {
            counters: *before,
            verified: Verified::default(),
            before: *before,
            failures: Vec::new(),
            published: before.completions,
            scheduled: false,
            urgent: false,
        }
    }

    /// Requests a publication after this batch: a connection began, ended or was paused.
    pub(super) const fn urgent(&mut self) {
        self.urgent = true;
    }

    /// Counts a failure.
    pub(super) fn failed(&mut self, what: Failed, errno: i32) {
        self.urgent = true;
        self.failures.push((what, errno));
    }

    /// Whether a publication is due now; otherwise schedules one by a timer.
    #[inline]
    pub(super) fn is_due(&mut self, timers: &mut Timers) -> bool {
        if self.urgent || self.counters.completions - self.published >= MOST_COMPLETIONS {
            return true;
        }
        if !self.scheduled {
            self.scheduled = true;
            timers.after(LONGEST, Timer::Publish);
        }
        false
    }

    /// Publishes the counters. Never waits: while a reader holds the lock, a timer schedules another attempt.
    pub(super) fn publish(&mut self, plan: &Plan, now: &Published<'_>, timers: &mut Timers) {
        self.collect(now);
        self.published = self.counters.completions;
        self.urgent = false;
        self.scheduled = !plan.stats.try_publish(&self.counters, &mut self.failures);
        if self.scheduled {
            timers.after(CONTENDED, Timer::Publish);
        }
    }

    /// Publishes the counters for the last time; may wait for a reader.
    pub(super) fn finish(&mut self, plan: &Plan, now: &Published<'_>) {
        self.collect(now);
        plan.stats.publish(&self.counters, &mut self.failures);
    }

    fn collect(&mut self, now: &Published<'_>) {
        let Published { pool, backend, backlog, connections } = now;
        let (counters, before) = (&mut self.counters, &self.before);
        counters.verified_bytes = before.verified_bytes + self.verified.bytes;
        counters.mismatched_bytes = before.mismatched_bytes + self.verified.mismatched;
        counters.dispensed = before.dispensed + pool.dispensed();
        counters.returned = before.returned + pool.returned();
        counters.stashed = pool.stashed();
        counters.oldest = pool.hold_times().oldest();
        counters.connections = connections.len() as u64;
        backlog.publish(&mut counters.ring.backlog);
        counters.ring.connection_limit = connections.limit();
        counters.ring.socket_buffer_bytes = connections.share();
        counters.ring.refill_full = before.ring.refill_full + pool.full();
        counters.ring.hold = before.ring.hold.plus(pool.hold_times().times());
        counters.ring.refill_depth = before.ring.refill_depth.plus(pool.depths());
        counters.ring.published = before.ring.published.plus(pool.batches());
        let received = counters.bytes - before.bytes;
        let sum = |before: Option<u64>, now: Option<u64>| Some(before.unwrap_or(0) + now?);
        counters.copied_bytes = sum(before.copied_bytes, backend.copied_bytes(received));
        counters.ring.flushes = sum(before.ring.flushes, backend.flushes());
        counters.area_bytes = pool.area_bytes();
        let given_up = counters.given_up;
        let zcrx = backend.zcrx_counts(pool);
        let zcrx_before = before.zcrx.unwrap_or_default();
        counters.zcrx = zcrx.map(|zcrx| ZcrxCounts { given_up, ..zcrx.after(&zcrx_before) });
        counters.starvations = sum(before.starvations, backend.starvations());
        counters.starving = counters.starvations.map(|_| backend.starving());
    }
}

/// Sources of figures that are published with the counters.
pub(super) struct Published<'a> {
    pub(super) pool: &'a Pool,
    pub(super) backend: &'a AnyBackend,
    pub(super) backlog: &'a Backlog,
    pub(super) connections: &'a Table,
}
