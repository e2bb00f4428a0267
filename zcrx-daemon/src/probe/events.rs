//! Reads what the event probes counted, and lays it beside the queues of a snapshot.

use std::{collections::BTreeSet, sync::Arc};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, PerCpuArray},
};
use zcrx_common::event::{Events, life};

use super::catalogue::{self, events::Fill};
use super::{keep, object};
use crate::model::{KernelSnapshot, Lives};

pub(super) struct Reader {
    events: HashMap<MapData, u64, Events>,
    lives: PerCpuArray<MapData, u64>,
    attached: Attached,
    /// How the attached probes fill in what they counted of a queue.
    fills: Vec<Fill>,
    /// Queues that have counts and were not in the last snapshot.
    missed: BTreeSet<u64>,
}

/// Which of the probes on begins and ends are attached: what the others would count is unknown.
#[derive(Clone, Copy, Default)]
struct Attached {
    control: bool,
    pool_begin: bool,
    pool_end: bool,
    queue_end: bool,
    teardown: bool,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self {
            events: object::map(ebpf, "QUEUE_EVENTS")?,
            lives: object::map(ebpf, "LIVES")?,
            attached: Attached::default(),
            fills: Vec::new(),
            missed: BTreeSet::new(),
        })
    }

    /// Takes note of the probes that are attached now.
    pub(super) fn count_for(&mut self, is_attached: impl Fn(&str) -> bool) {
        self.fills = attached_fills(&is_attached);
        self.attached = Attached {
            control: is_attached(catalogue::events::CONTROL),
            pool_begin: is_attached(catalogue::lives::POOL_BEGIN),
            pool_end: is_attached(catalogue::lives::POOL_END),
            queue_end: is_attached(catalogue::lives::QUEUE_END),
            teardown: is_attached(catalogue::lives::TEARDOWN),
        };
    }

    /// Forgets all counts.
    pub(super) fn begin_again(&mut self) {
        let queues: Vec<u64> = self.events.keys().filter_map(Result::ok).collect();
        for ifq in queues {
            // One that is gone meanwhile is gone as well.
            self.events.remove(&ifq).ok();
        }
    }

    /// Takes over the counts of an earlier zcrxd. Returns the number of queues.
    pub(super) fn take_over(&mut self, earlier: &HashMap<MapData, u64, Events>) -> Result<usize, MapError> {
        let total = |events: &Events| events.receives + events.copies + events.flushed;
        keep::copy(earlier, &mut self.events, |events| *events, total, |_| true)
    }

    /// Gives each queue its counts. A queue without an event since the probes were attached has counts of zero.
    pub(super) fn join(&self, snapshot: &mut KernelSnapshot) {
        for queue in snapshot.queues.iter_mut().map(Arc::make_mut) {
            let events = match self.events.get(&queue.ifq, 0) {
                Ok(events) => events,
                Err(MapError::KeyNotFound) => Events::NONE,
                Err(_) => continue,
            };
            self.fills.iter().for_each(|fill| fill(queue, &events));
        }
    }

    /// Forgets queues that two complete snapshots have missed: probes do not see every end of a queue (two threads may drop the last
    /// two references at once), and the kernel reuses the address. One miss is not enough, because a queue may be younger than the
    /// snapshot. Returns the forgotten queues, and whether a queue with counts is missing in a snapshot for the first time.
    pub(super) fn forget_missed(&mut self, snapshot: &KernelSnapshot) -> (BTreeSet<u64>, bool) {
        let found: BTreeSet<u64> = snapshot.queues.iter().map(|queue| queue.ifq).collect();
        let missed: BTreeSet<u64> =
            self.events.keys().filter_map(Result::ok).filter(|ifq| !found.contains(ifq)).collect();
        let new = missed.difference(&self.missed).next().is_some();
        let mut gone = BTreeSet::new();
        if snapshot.incomplete.is_empty() {
            gone.extend(missed.intersection(&self.missed).copied());
            for ifq in &gone {
                // One that a program has removed meanwhile is gone as well.
                self.events.remove(ifq).ok();
            }
        }
        self.missed = missed;
        (gone, new)
    }

    pub(super) fn lives(&self) -> Lives {
        let Attached { pool_begin, pool_end, queue_end, teardown, control } = self.attached;
        let slot = |attached: bool, slot: u32| {
            attached.then(|| Some(self.lives.get(&slot, 0).ok()?.iter().sum())).flatten()
        };
        Lives {
            pools_begun: slot(pool_begin, life::POOL_BEGUN),
            pools_refused: slot(pool_begin, life::POOL_REFUSED),
            pools_ended: slot(pool_end, life::POOL_ENDED),
            queues_ended: slot(queue_end, life::QUEUE_ENDED),
            rings_ended: slot(teardown, life::RING_ENDED),
            controls_astray: slot(control, life::CONTROL_ASTRAY),
        }
    }
}

/// What a probe that is not attached would fill in stays unknown.
fn attached_fills(is_attached: impl Fn(&str) -> bool) -> Vec<Fill> {
    let attached = catalogue::events::FILLS.iter().filter(|(probe, _)| is_attached(probe));
    attached.map(|(_, fill)| *fill).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use zcrx_common::event::{Outcome, UNKNOWN_OPERATION};

    use super::*;
    use crate::model::{ControlOperation, ControlResult, KernelQueue};

    fn fill(queue: &mut KernelQueue, events: &Events, is_attached: impl Fn(&str) -> bool) {
        for fill in attached_fills(is_attached) {
            fill(queue, events);
        }
    }

    #[test]
    fn outcomes_are_told_by_errno_and_operation() {
        let mut events = Events { received_ns: 7, ..Events::default() };
        events.errors[0] = Outcome { code: libc::ENOMEM as u64, count: 3 };
        events.controls[0] = Outcome { code: Outcome::control(3, libc::EFAULT as u32), count: 1 };
        events.controls[1] = Outcome { code: Outcome::control(0, 0), count: 5 };
        events.controls[2] =
            Outcome { code: Outcome::control(UNKNOWN_OPERATION, libc::EFAULT as u32), count: 2 };
        let mut queue = KernelQueue::default();
        fill(&mut queue, &events, |_| true);
        let delivery = queue.delivery.expect("attached");
        assert_eq!(delivery.errors.into_iter().collect::<Vec<_>>(), [(libc::ENOMEM, 3)]);
        assert_eq!(delivery.last, Some(Duration::from_nanos(7)));
        let result = |operation, errno, count| ControlResult { operation, errno, count };
        assert_eq!(
            queue.control.expect("attached").results,
            [
                result(ControlOperation::FlushRq, 0, 5),
                result(ControlOperation::AddArea, libc::EFAULT, 1),
                result(ControlOperation::Other, libc::EFAULT, 2),
            ]
        );
        let kinds: Vec<_> =
            queue.notifications.expect("attached").iter().map(|count| count.kind.name()).collect();
        assert_eq!(kinds, ["alloc_fail", "copy"]);
    }

    #[test]
    fn what_is_not_attached_counts_nothing() {
        let mut queue = KernelQueue::default();
        fill(&mut queue, &Events::NONE, |_| false);
        assert_eq!(queue, KernelQueue::default());
    }
}
