//! Reads what the allocation probe counted, and lays it beside the queues of a snapshot.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};
use zcrx_common::allocation::State;

use super::{keep, object};
use crate::model::{AllocationCount, AllocationDistributions, KernelSnapshot, Log2Histogram, Watermarks};

pub(super) struct Reader {
    states: HashMap<MapData, u64, State>,
    interval: Array<MapData, u32>,
    /// Number of the interval that ends with the next sample.
    current: u32,
    /// Queues that have counts and were not in the last snapshot.
    missed: BTreeSet<u64>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self {
            states: object::map(ebpf, "ALLOCATIONS")?,
            interval: object::map(ebpf, "ALLOCATION_INTERVAL")?,
            current: 0,
            missed: BTreeSet::new(),
        })
    }

    /// Takes over the counts of an earlier zcrxd, but not the call and the interval under way. Returns the number of queues.
    pub(super) fn take_over(&mut self, earlier: &HashMap<MapData, u64, State>) -> Result<usize, MapError> {
        let resumed = |state: &State| State {
            inside: 0,
            interval: 0,
            interval_calls: 0,
            interval_pending: 0,
            interval_allocatable: u32::MAX,
            interval_starvation_ns: 0,
            ..*state
        };
        keep::copy(earlier, &mut self.states, resumed, |state| state.calls, |state| state.inside == 0)
    }

    /// Gives each queue with a page pool its counts, and the extremes of the interval so far. A queue that was never asked for a buffer
    /// since the probe was attached has counts of zero.
    pub(super) fn join(&self, snapshot: &mut KernelSnapshot) {
        for queue in snapshot.queues.iter_mut().map(Arc::make_mut).filter(|queue| queue.pool.is_some()) {
            let state = match self.states.get(&queue.ifq, 0) {
                Ok(state) => state,
                Err(MapError::KeyNotFound) => State::default(),
                Err(_) => continue,
            };
            queue.allocation = Some(count(&state));
            queue.watermarks = Some(watermarks(&state, self.current));
            queue.distributions = Some(distributions(&state));
        }
    }

    /// Begins the next interval of extremes. A call between a sample and this belongs to neither interval.
    pub(super) fn begin_interval(&mut self) {
        self.current = self.current.wrapping_add(1);
        // Without it the extremes go on from the interval before: wider than they should be, not wrong.
        self.interval.set(0, self.current, 0).ok();
    }

    /// Forgets queues that two whole snapshots have missed: not every end of a queue is seen. Returns whether a queue has counts and
    /// is in no snapshot for the first time.
    pub(super) fn forget_missed(&mut self, snapshot: &KernelSnapshot) -> bool {
        let found: BTreeSet<u64> = snapshot.queues.iter().map(|queue| queue.ifq).collect();
        let missed: BTreeSet<u64> =
            self.states.keys().filter_map(Result::ok).filter(|ifq| !found.contains(ifq)).collect();
        let new = missed.difference(&self.missed).next().is_some();
        if snapshot.incomplete.is_empty() {
            for ifq in missed.intersection(&self.missed) {
                // One that a program has removed meanwhile is gone as well.
                self.states.remove(ifq).ok();
            }
        }
        self.missed = missed;
        new
    }
}

fn time(ns: u64) -> Option<Duration> {
    (ns != 0).then(|| Duration::from_nanos(ns))
}

fn count(state: &State) -> AllocationCount {
    AllocationCount {
        calls: state.calls,
        failures: state.failures,
        buffers: state.buffers,
        consumed: state.consumed,
        fullest: state.fullest,
        from_freelist: state.from_freelist,
        last_success: time(state.last_success_ns),
        starving_since: time(state.starving_since_ns),
        starvations: state.starvations,
        starved: Duration::from_nanos(state.starved_ns),
    }
}

/// Extremes of the interval; a state of an older one had no call since.
fn watermarks(state: &State, interval: u32) -> Watermarks {
    if state.interval != interval || state.interval_calls == 0 {
        return Watermarks::default();
    }
    Watermarks {
        calls: u64::from(state.interval_calls),
        least_allocatable: (state.interval_allocatable != u32::MAX).then_some(state.interval_allocatable),
        most_pending: Some(state.interval_pending),
        longest_starvation: time(state.interval_starvation_ns),
    }
}

fn distributions(state: &State) -> AllocationDistributions {
    let histogram = |counts: &[u64], sum| Log2Histogram { counts: counts.to_vec(), sum };
    AllocationDistributions {
        starvation_us: histogram(&state.starvation_lengths, state.starved_ns / 1000),
        consumed: histogram(&state.consumed_by_call, state.consumed),
        yielded: histogram(&state.yielded_by_call, state.buffers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_never_came_is_unknown() {
        let fresh = count(&State::default());
        assert_eq!(fresh, AllocationCount::default());
        let starving = count(&State { failures: 1, starving_since_ns: 7, ..State::default() });
        assert_eq!(starving.starving_since, Some(Duration::from_nanos(7)));
        assert_eq!(starving.last_success, None);
    }

    #[test]
    fn extremes_of_an_older_interval_are_unknown() {
        let state = State {
            interval: 4,
            interval_calls: 2,
            interval_pending: 7,
            interval_allocatable: u32::MAX,
            interval_starvation_ns: 1_000,
            ..State::default()
        };
        let now = watermarks(&state, 4);
        assert_eq!((now.calls, now.most_pending, now.least_allocatable), (2, Some(7), None));
        assert_eq!(now.longest_starvation, Some(Duration::from_micros(1)));
        assert_eq!(watermarks(&state, 5), Watermarks::default());
    }
}
