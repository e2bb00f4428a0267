//! Reads what the allocation probe counted, and lays it beside the queues of a snapshot.

use std::time::Duration;

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use zcrx_common::allocation::{Key, State};

use super::object;
use crate::model::{AllocationCount, KernelSnapshot};

pub(super) struct Reader {
    states: HashMap<MapData, Key, State>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self { states: object::map(ebpf, "ALLOCATIONS")? })
    }

    /// Gives each queue with a page pool its counts. A queue that was never asked for a buffer since the probe was
    /// attached has counts of zero.
    pub(super) fn join(&self, snapshot: &mut KernelSnapshot) {
        for queue in &mut snapshot.queues {
            let Some(pool) = queue.pool else { continue };
            let key = Key { ifq: queue.ifq, pool_id: pool.id, reserved: 0 };
            queue.allocation = match self.states.get(&key, 0) {
                Ok(state) => Some(count(&state)),
                Err(MapError::KeyNotFound) => Some(AllocationCount::default()),
                Err(_) => None,
            };
        }
    }
}

fn count(state: &State) -> AllocationCount {
    let time = |ns| (ns != 0).then(|| Duration::from_nanos(ns));
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
}
