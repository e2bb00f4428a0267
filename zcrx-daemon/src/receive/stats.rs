//! Statistics of a queue: its thread publishes them from time to time, and other threads read them at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::Instant;

use super::choices::SinkConfig;
use super::pool::Pool;
use super::refill::{MappedRing, RingMemory};
use crate::model::{QueueKey, QueueState, ReceiveSample, RingStatistics, Selection, ZcrxCounts, ZcrxSample};

/// Counters of one queue, from the start of its thread.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) dispensed: u64,
    pub(super) returned: u64,
    pub(super) reclaimed: u64,
    pub(super) stashed: u64,
    pub(super) cq_overflows: u64,
    pub(super) bytes: u64,
    pub(super) copied_bytes: Option<u64>,
    pub(super) area_bytes: u64,
    pub(super) zcrx: Option<ZcrxCounts>,
    /// Connections ended because copies found no buffer for too long.
    pub(super) given_up: u64,
    pub(super) completions: u64,
    pub(super) rearms: u64,
    pub(super) starvations: Option<u64>,
    pub(super) starving: Option<bool>,
    pub(super) accepted: u64,
    pub(super) connections: u64,
    pub(super) verified_bytes: u64,
    pub(super) mismatched_bytes: u64,
    /// Statistics of the ring. A sample computes the age of the oldest buffer from `oldest`.
    pub(super) ring: RingStatistics,
    /// When the buffer that is held longest was reaped.
    pub(super) oldest: Option<Instant>,
}

/// Geometry of a registered queue.
#[derive(Clone, Debug)]
struct Geometry {
    zcrx: Option<ZcrxSample>,
    buffer_bytes: u64,
    /// Read for each sample, because the kernel moves the head independently. `None` once the ring is gone.
    refill: Option<MappedRing>,
    refill_capacity: u32,
    cq_capacity: u32,
}

#[derive(Debug)]
struct State {
    selection: Selection,
    life: QueueState,
    reason: String,
    geometry: Option<Geometry>,
    counters: Counters,
    failed: BTreeMap<(Failed, i32), u64>,
}

impl State {
    fn take(&mut self, counters: &Counters, failures: &mut Vec<(Failed, i32)>) {
        self.counters = *counters;
        for failed in failures.drain(..) {
            *self.failed.entry(failed).or_default() += 1;
        }
    }
}

/// Kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failed {
    /// A receive.
    Receive,
    /// Accepting a connection.
    Accept,
    /// Passing a connection's data to its sink: a permanent error.
    Sink,
}

/// One queue's statistics, shared between its thread and the threads that take samples.
#[derive(Debug)]
pub(super) struct Stats {
    key: QueueKey,
    sink: &'static str,
    destination: Option<String>,
    listen: Vec<String>,
    cq_depth: AtomicU32,
    /// Index of the interface that the queue is registered on; 0 without one.
    ifindex: AtomicU32,
    state: Mutex<State>,
}

impl Stats {
    pub(super) fn new(key: QueueKey, sink: &SinkConfig, listen: Vec<String>) -> Self {
        let (sink, destination) = (sink.name(), sink.destination());
        let state = State {
            selection: Selection { backend: None, refused: Vec::new() },
            life: QueueState::Failed,
            reason: "not started yet".to_owned(),
            geometry: None,
            counters: Counters::default(),
            failed: BTreeMap::new(),
        };
        let (cq_depth, ifindex) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { key, sink, destination, listen, cq_depth, ifindex, state: Mutex::new(state) }
    }

    /// Which queue this is.
    pub(super) const fn key(&self) -> &QueueKey {
        &self.key
    }

    /// Says which interface the queue is registered on.
    pub(super) fn registered_on(&self, ifindex: Option<u32>) {
        self.ifindex.store(ifindex.unwrap_or(0), Ordering::Relaxed);
    }

    /// Index of the interface that the queue was registered on last.
    pub(super) fn ifindex(&self) -> Option<u32> {
        Some(self.ifindex.load(Ordering::Relaxed)).filter(|index| *index > 0)
    }

    /// A queue was registered.
    pub(super) fn registered(
        &self,
        selection: &Selection,
        zcrx: Option<ZcrxSample>,
        pool: &Pool,
        cq_capacity: u32,
    ) {
        let geometry = Geometry {
            zcrx,
            buffer_bytes: pool.buffer_bytes(),
            refill: Some(pool.refill_memory().clone()),
            refill_capacity: pool.refill_memory().entries(),
            cq_capacity,
        };
        self.with(|state| {
            state.selection = selection.clone();
            state.geometry = Some(geometry);
        });
    }

    /// Records a change of the queue's state.
    pub(super) fn turned(&self, turn: QueueState, reason: &str) {
        self.with(|state| {
            state.life = turn;
            reason.clone_into(&mut state.reason);
            if !matches!(turn, QueueState::Failed | QueueState::Stopped) {
                return;
            }
            // Ring and area are gone, but the last sample of a stopped queue still shows their sizes.
            state.counters.starving = state.counters.starving.map(|_| false);
            state.counters.oldest = None;
            match &mut state.geometry {
                Some(geometry) if turn == QueueState::Stopped => geometry.refill = None,
                geometry => *geometry = None,
            }
        });
    }

    /// Publishes counters, and failures since the last publication, to other threads. Waits for a reader.
    pub(super) fn publish(&self, counters: &Counters, failures: &mut Vec<(Failed, i32)>) {
        self.with(|state| state.take(counters, failures));
    }

    /// As [`Self::publish`], but returns false instead of waiting.
    pub(super) fn try_publish(&self, counters: &Counters, failures: &mut Vec<(Failed, i32)>) -> bool {
        match self.state.try_lock() {
            Ok(mut state) => state.take(counters, failures),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner().take(counters, failures),
            Err(TryLockError::WouldBlock) => return false,
        }
        true
    }

    /// Number of waiting completions; 0 once they are handled.
    pub(super) fn cq_depth(&self, depth: u32) {
        self.cq_depth.store(depth, Ordering::Relaxed);
    }

    /// Takes a sample of the queue.
    pub(super) fn sample(&self) -> ReceiveSample {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (counters, geometry) = (&state.counters, state.geometry.as_ref());
        let errors = |of: Failed| {
            let of_it = state.failed.iter().filter(|((failed, _), _)| *failed == of);
            of_it.map(|((_, errno), count)| (*errno, *count)).collect()
        };
        // Grows while the queue runs, so it is counted; but without a queue there is no area.
        let area_bytes = geometry.map_or(0, |_| counters.area_bytes);
        let zcrx = geometry.and_then(|geometry| geometry.zcrx.clone());
        let zcrx = zcrx.map(|zcrx| ZcrxSample { counts: counters.zcrx.unwrap_or_default(), ..zcrx });
        ReceiveSample {
            key: self.key.clone(),
            ifindex: self.ifindex(),
            selection: state.selection.clone(),
            state: state.life,
            state_reason: state.reason.clone(),
            listen: self.listen.clone(),
            sink: self.sink.to_owned(),
            sink_destination: self.destination.clone(),
            area_bytes,
            buffer_bytes: geometry.map_or(0, |geometry| geometry.buffer_bytes),
            buffers: geometry.map_or(0, |geometry| area_bytes / geometry.buffer_bytes),
            dispensed: counters.dispensed,
            returned: counters.returned,
            reclaimed: counters.reclaimed,
            stashed: counters.stashed,
            refill_capacity: geometry.map_or(0, |geometry| geometry.refill_capacity),
            refill_depth: geometry.and_then(|geometry| geometry.refill.as_ref()).map_or(0, MappedRing::depth),
            cq_capacity: geometry.map_or(0, |geometry| geometry.cq_capacity),
            cq_depth: self.cq_depth.load(Ordering::Relaxed),
            cq_overflows: counters.cq_overflows,
            bytes: counters.bytes,
            copied_bytes: counters.copied_bytes,
            zcrx,
            completions: counters.completions,
            errors: errors(Failed::Receive),
            accept_errors: errors(Failed::Accept),
            sink_errors: errors(Failed::Sink),
            rearms: counters.rearms,
            starvations: counters.starvations,
            starving: counters.starving,
            accepted: counters.accepted,
            connections: counters.connections,
            verified_bytes: counters.verified_bytes,
            mismatched_bytes: counters.mismatched_bytes,
            workers: Vec::new(),
            ring: Some(RingStatistics {
                oldest_held: counters.oldest.map(|reaped| reaped.elapsed()),
                ..counters.ring
            }),
        }
    }

    /// A poisoned lock is harmless: a panic leaves only plain numbers, which can still be shown.
    fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
