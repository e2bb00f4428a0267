//! Reads what the event probes counted, and lays it beside the queues of a snapshot.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, PerCpuArray},
};
use zcrx_common::event::{Events, life};

use super::{catalogue, keep, object};
use crate::model::{
    ControlCount, ControlOperation, ControlResult, DeliveryCount, FallbackCount, KernelQueue, KernelSnapshot,
    Lives, NotificationCount, NotificationKind,
};

pub(super) struct Reader {
    events: HashMap<MapData, u64, Events>,
    lives: PerCpuArray<MapData, u64>,
    attached: Attached,
    /// Queues that have counts and were not in the last snapshot.
    missed: BTreeSet<u64>,
}

/// Which of the probes are attached: what the others would count is unknown.
#[derive(Clone, Copy, Default)]
struct Attached {
    delivery: bool,
    copy: bool,
    control: bool,
    notification: bool,
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
            missed: BTreeSet::new(),
        })
    }

    /// Takes note of the probes that are attached now.
    pub(super) fn count_for(&mut self, is_attached: impl Fn(&str) -> bool) {
        self.attached = Attached {
            delivery: is_attached(catalogue::events::DELIVERY),
            copy: is_attached(catalogue::events::COPY),
            control: is_attached(catalogue::events::CONTROL),
            notification: is_attached(catalogue::events::NOTIFICATION),
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
        keep::copy(earlier, &mut self.events, |events| *events, total)
    }

    /// Gives each queue its counts. A queue without an event since the probes were attached has counts of zero.
    pub(super) fn join(&self, snapshot: &mut KernelSnapshot) {
        for queue in snapshot.queues.iter_mut().map(Arc::make_mut) {
            match self.events.get(&queue.ifq, 0) {
                Ok(events) => fill(queue, &events, self.attached),
                Err(MapError::KeyNotFound) => fill(queue, &Events::default(), self.attached),
                Err(_) => {}
            }
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
        let Attached { pool_begin, pool_end, queue_end, teardown, control, .. } = self.attached;
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

fn fill(queue: &mut KernelQueue, events: &Events, attached: Attached) {
    queue.delivery = attached.delivery.then(|| DeliveryCount {
        calls: events.receives,
        empty: events.receives_empty,
        bytes: events.received_bytes,
        last: (events.received_ns != 0).then(|| Duration::from_nanos(events.received_ns)),
        errors: events
            .errors
            .iter()
            .filter(|error| error.code != 0)
            .map(|error| (error.code as i32, error.count))
            .collect(),
    });
    queue.fallback = attached.copy.then_some(FallbackCount {
        calls: events.copies,
        failures: events.copies_failed,
        bytes: events.copied_bytes,
        buffers: events.copied_buffers,
        no_buffer: Some(events.copies_without_buffer),
        cq_full: Some(events.copies_without_completion),
        partial: Some(events.copies_partial),
    });
    queue.control =
        attached.control.then(|| ControlCount { results: controls(events), flushed: events.flushed });
    queue.notifications = attached.notification.then(|| notifications(events));
}

fn controls(events: &Events) -> Vec<ControlResult> {
    let seen = events.controls.iter().filter(|outcome| outcome.code != 0);
    let mut results: Vec<_> = seen
        .map(|outcome| {
            let (operation, errno) = outcome.operation();
            let operation = match operation {
                0 => ControlOperation::FlushRq,
                1 => ControlOperation::Export,
                2 => ControlOperation::ArmEvent,
                3 => ControlOperation::AddArea,
                _ => ControlOperation::Other,
            };
            ControlResult { operation, errno: errno as i32, count: outcome.count }
        })
        .collect();
    results.sort_unstable();
    results
}

fn notifications(events: &Events) -> Vec<NotificationCount> {
    let kinds = [
        NotificationKind::AllocFail,
        NotificationKind::Copy,
        NotificationKind::Other,
        NotificationKind::Other,
    ];
    let counts = events.raised.iter().zip(events.notified).zip(kinds);
    counts
        .map(|((&raised, sent), kind)| NotificationCount { kind, raised, sent })
        .filter(|count| count.raised > 0 || count.kind != NotificationKind::Other)
        .collect()
}

#[cfg(test)]
mod tests {
    use zcrx_common::event::{Outcome, UNKNOWN_OPERATION};

    use super::*;

    const ALL: Attached = Attached {
        delivery: true,
        copy: true,
        control: true,
        notification: true,
        pool_begin: true,
        pool_end: true,
        queue_end: true,
        teardown: true,
    };

    #[test]
    fn outcomes_are_told_by_errno_and_operation() {
        let mut events = Events { received_ns: 7, ..Events::default() };
        events.errors[0] = Outcome { code: libc::ENOMEM as u64, count: 3 };
        events.controls[0] = Outcome { code: Outcome::control(3, libc::EFAULT as u32), count: 1 };
        events.controls[1] = Outcome { code: Outcome::control(0, 0), count: 5 };
        events.controls[2] =
            Outcome { code: Outcome::control(UNKNOWN_OPERATION, libc::EFAULT as u32), count: 2 };
        let mut queue = KernelQueue::default();
        fill(&mut queue, &events, ALL);
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
        let none = Attached { delivery: false, copy: false, control: false, notification: false, ..ALL };
        fill(&mut queue, &Events::default(), none);
        assert_eq!(queue, KernelQueue::default());
    }
}
