//! Holds what a snapshot says of a queue's device against what the kernel's netlink says of it.
//!
//! The two do not share a line of code or an offset: netlink is formatted by the kernel, the snapshot is read out of its structures. So a
//! field that has changed its meaning shows here, on every kernel, for what the self-check's queue does not have: a device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::nic::{NicSample, device, hardware_queue, namespace};
use crate::model::{BrokenRule, CheckedFigure, Doubts, KernelQueue, KernelSnapshot};

/// Buffers by which the two may differ at rest: those of two calls of the allocation.
const AT_REST: u64 = 128;

/// Buffers of a page pool that are in flight, by the snapshot and by netlink.
type Inflight = (u64, u64);

/// A queue of an interface: its index, and the queue's.
pub(super) type Place = (u32, u32);

/// What the comparison remembers.
#[derive(Debug)]
pub(super) struct SecondSource {
    doubts: Doubts,
    /// Queues whose place netlink has confirmed.
    confirmed: BTreeMap<u64, Confirmed>,
    /// What was in flight in the sample before, by queue: the two are read at different moments, and may be compared only where neither
    /// moves.
    inflight: BTreeMap<u64, Inflight>,
}

/// A place and the interface's name, as they were when netlink confirmed them.
#[derive(Debug, PartialEq, Eq)]
struct Confirmed {
    place: Option<Place>,
    interface: Option<String>,
}

impl Default for SecondSource {
    fn default() -> Self {
        Self { doubts: Doubts::patient(), confirmed: BTreeMap::new(), inflight: BTreeMap::new() }
    }
}

impl SecondSource {
    /// Whether a queue is there whose place is not confirmed: then the queues of interfaces have to be listed.
    pub(super) fn has_questions(&self, snapshot: &KernelSnapshot) -> bool {
        !snapshot.queues.iter().all(|queue| is_confirmed(&self.confirmed, queue))
    }

    /// Takes out of a snapshot what contradicts netlink, and says which figures that were.
    pub(super) fn apply(&mut self, snapshot: &mut KernelSnapshot, nic: &NicSample) {
        let listed = nic.zcrx_queues.as_ref();
        let here = snapshot.queues.iter().filter(|queue| listed.is_some() && is_here(queue, nic));
        let here: BTreeSet<Place> = here.filter_map(|queue| place(queue)).collect();
        let unclaimed: Vec<Place> =
            listed.into_iter().flatten().filter(|place| !here.contains(place)).copied().collect();
        if snapshot.queues.len() < self.confirmed.len() {
            self.confirmed.retain(|ifq, _| snapshot.queues.iter().any(|queue| queue.ifq == *ifq));
        }
        let before = std::mem::take(&mut self.inflight);
        self.inflight =
            snapshot.queues.iter().filter_map(|queue| Some((queue.ifq, inflight(queue, nic)?))).collect();
        let at_rest = |queue: &KernelQueue| {
            self.inflight.get(&queue.ifq).filter(|now| before.get(&queue.ifq) == Some(*now)).copied()
        };
        let (confirmed, mut never_right) = (&mut self.confirmed, BTreeSet::new());
        self.doubts.apply(snapshot, |queue| {
            let mut broken = contradictions(queue, nic, &unclaimed, here.is_empty());
            if let Some((shown, known)) = at_rest(queue).filter(|_| broken.is_empty())
                && shown.abs_diff(known) > AT_REST
            {
                let (rule, shown) = (format!("{known} by netlink"), shown.to_string());
                broken.push(BrokenRule { figure: "pool.inflight", rule, shown });
            }
            if broken.iter().any(|rule| rule.figure == "queue") {
                if !confirmed.contains_key(&queue.ifq) {
                    never_right.insert(queue.ifq);
                }
            } else if !is_confirmed(confirmed, queue)
                && nic.of(queue).is_ok_and(|there| there.zcrx_queues.is_some())
            {
                let interface = queue.interface.clone();
                confirmed.insert(queue.ifq, Confirmed { place: place(queue), interface });
            }
            broken
        });
        // Shown even once, a wrong name would stay in every store of metrics. A queue that has just been registered is in netlink's list,
        // which is read later.
        let shown = snapshot.queues.len();
        snapshot.queues.retain(|queue| !never_right.contains(&queue.ifq));
        if snapshot.queues.len() < shown {
            snapshot.incomplete.push("queues of which netlink knows nothing are not shown".to_owned());
        }
        snapshot.queues.iter_mut().for_each(|queue| name_interface(queue, nic));
    }

    /// Figures that zcrxd does without.
    pub(super) fn switched_off(&self) -> impl Iterator<Item = &CheckedFigure> {
        self.doubts.switched_off()
    }
}

/// Gives an interface the name that netlink knows it by, where the snapshot has none.
fn name_interface(queue: &mut Arc<KernelQueue>, nic: &NicSample) {
    if queue.interface.is_none()
        && queue.physical.is_none()
        && let (Some(ifindex), Ok(there)) = (queue.ifindex, nic.of(queue))
        && let Some(name) = there.names.get(&ifindex)
    {
        Arc::make_mut(queue).interface = Some(name.clone());
    }
}

/// What both say of a queue's page pool.
fn inflight(queue: &KernelQueue, nic: &NicSample) -> Option<Inflight> {
    let pool = queue.pool?;
    let known = nic.of(queue).ok()?.pool(pool.id)?.inflight?;
    Some((u64::from(pool.inflight()), known))
}

fn is_confirmed(confirmed: &BTreeMap<u64, Confirmed>, queue: &KernelQueue) -> bool {
    confirmed
        .get(&queue.ifq)
        .is_some_and(|known| known.place == place(queue) && known.interface == queue.interface)
}

fn place(queue: &KernelQueue) -> Option<Place> {
    device(queue).zip(hardware_queue(queue))
}

fn is_here(queue: &KernelQueue, nic: &NicSample) -> bool {
    namespace(queue).is_none() || namespace(queue) == nic.netns
}

/// What netlink says otherwise. `unclaimed` are zcrx queues of zcrxd's own network namespace that no queue of the snapshot has as its
/// place; `no_device` says that none has any place there.
fn contradictions(
    queue: &KernelQueue,
    nic: &NicSample,
    unclaimed: &[Place],
    no_device: bool,
) -> Vec<BrokenRule> {
    let mut broken = Vec::new();
    let is = |figure, rule: String, shown: String| BrokenRule { figure, rule, shown };
    let Some(place) = place(queue) else {
        if let (Some((ifindex, number)), true) = (unclaimed.first(), no_device) {
            broken.push(is(
                "queue",
                format!("{number} of interface {ifindex}, by netlink"),
                "without a device".to_owned(),
            ));
        }
        return broken;
    };
    let Ok(there) = nic.of(queue) else {
        if unclaimed.contains(&place)
            && let (Some(own), Some(shown)) = (nic.netns, namespace(queue))
        {
            broken.push(is("netns", own.to_string(), shown.to_string()));
        }
        return broken;
    };
    if let Some(listed) = &there.zcrx_queues
        && !listed.contains(&place)
    {
        let queues: Vec<_> = listed.iter().map(|(ifindex, number)| format!("{ifindex}:{number}")).collect();
        broken.push(is(
            "queue",
            format!("one of [{}], by netlink", queues.join(", ")),
            format!("{}:{}", place.0, place.1),
        ));
    }
    if let Some(name) = there.names.get(&place.0)
        && let Some(shown) =
            queue.interface.as_ref().filter(|shown| *shown != name && queue.physical.is_none())
    {
        broken.push(is("interface", format!("{name} by netlink"), shown.clone()));
    }
    // Of another queue it would be another pool.
    let Some(pool) = queue.pool.filter(|_| broken.is_empty()) else { return broken };
    let Some(known) =
        there.pool(pool.id).filter(|known| known.ifindex.is_none_or(|ifindex| ifindex == place.0))
    else {
        if !there.pools.is_empty() {
            broken.push(is(
                "pool.id",
                format!("a page pool of interface {}, by netlink", place.0),
                pool.id.to_string(),
            ));
        }
        return broken;
    };
    if let Some((napi_id, shown)) = known.napi_id.zip(queue.napi_id)
        && napi_id != u64::from(shown)
    {
        broken.push(is("napi_id", format!("{napi_id} by netlink"), shown.to_string()));
    }
    broken
}

#[cfg(test)]
#[path = "second_source_tests.rs"]
mod tests;
