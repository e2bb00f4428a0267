//! Compares what a snapshot says of a queue's device with what the kernel's netlink says of it.
//!
//! The two share no code and no offset: the kernel formats netlink, and zcrxd reads the snapshot out of its structures. So a field that
//! has changed its meaning shows here, on every kernel, for what the self-check's queue does not have: a device.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::nic::{NicSample, device, hardware_queue, namespace};
use crate::model::{BrokenRule, CheckedFigure, Doubts, KernelQueue, KernelSnapshot, PagePool};

/// Buffers by which the two may differ at rest: those of two calls of the allocation.
const AT_REST: u64 = 128;

/// Buffers of a page pool that are in flight, by the snapshot and by netlink.
type Inflight = (u64, u64);

/// Interface index, and number of the hardware queue.
type Place = (u32, u32);

/// What the comparison remembers.
#[derive(Debug)]
pub(super) struct SecondSource {
    doubts: Doubts,
    /// Queues about whose place netlink was asked, by identity; without those that it contradicted from the beginning.
    asked: BTreeMap<u64, Asked>,
    /// What was in flight in the sample before, by queue: the two are read at different moments, and are compared only where neither
    /// moves.
    inflight: BTreeMap<u64, Inflight>,
}

/// A queue's place and its interface's name when netlink was asked.
#[derive(Debug)]
struct Asked {
    place: Place,
    interface: Option<String>,
}

impl Default for SecondSource {
    fn default() -> Self {
        Self { doubts: Doubts::patient(), asked: BTreeMap::new(), inflight: BTreeMap::new() }
    }
}

impl SecondSource {
    /// Whether a queue has a place about which netlink was not asked: then the queues of interfaces have to be listed.
    pub(super) fn has_questions(&self, snapshot: &KernelSnapshot) -> bool {
        snapshot.queues.iter().any(|queue| place(queue).is_some_and(|place| !self.was_asked(queue, place)))
    }

    fn was_asked(&self, queue: &KernelQueue, place: Place) -> bool {
        let asked = self.asked.get(&queue.ifq);
        asked.is_some_and(|asked| asked.place == place && asked.interface == queue.interface)
    }

    /// Takes out of a snapshot what contradicts netlink.
    pub(super) fn apply(&mut self, snapshot: &mut KernelSnapshot, nic: &NicSample) {
        let before = std::mem::take(&mut self.inflight);
        let mut never_right = BTreeSet::new();
        let mut answered = Vec::new();
        let (inflight, asked) = (&mut self.inflight, &self.asked);
        self.doubts.apply(snapshot, |queue| {
            let Some(place) = place(queue) else { return Vec::new() };
            let there = nic.of(queue);
            let mut broken = there.map_or_else(|_| Vec::new(), |there| of_place(queue, place, there));
            if broken.iter().any(|rule| rule.figure == "place") {
                if !asked.contains_key(&queue.ifq) {
                    never_right.insert(queue.ifq);
                }
            } else if nic.listed_queues.is_some() {
                answered.push((queue.ifq, Asked { place, interface: queue.interface.clone() }));
            }
            // At a wrong place it would be the pool of another queue.
            if let (true, Ok(there), Some(pool)) = (broken.is_empty(), there, queue.pool) {
                let known =
                    there.pool(pool.id).filter(|known| known.ifindex.is_none_or(|index| index == place.0));
                match known {
                    Some(known) => broken.extend(of_pool(queue, known, &before, inflight)),
                    None if there.pools.is_empty() => {}
                    None => broken.push(BrokenRule {
                        figure: "pool.id",
                        rule: format!("a page pool of interface {}, by netlink", place.0),
                        shown: pool.id.to_string(),
                    }),
                }
            }
            broken
        });
        self.asked.extend(answered);
        let lives = |ifq| snapshot.queues.iter().any(|queue| queue.ifq == ifq);
        if self.asked.len() > snapshot.queues.len() {
            self.asked.retain(|ifq, _| lives(*ifq));
        }
        // A name that is shown once stays in every store of metrics. A queue that has just been registered is in netlink's list, which is
        // read later than the snapshot.
        let shown = snapshot.queues.len();
        snapshot.queues.retain(|queue| !never_right.contains(&queue.ifq));
        if snapshot.queues.len() < shown {
            let hidden = shown - snapshot.queues.len();
            snapshot
                .incomplete
                .push(format!("{hidden} queues are not shown: netlink contradicts their place"));
        }
        snapshot.queues.iter_mut().for_each(|queue| name_interface(queue, nic));
    }

    /// Figures that are not shown, with what they were read as.
    pub(super) fn wrong(&self) -> impl Iterator<Item = &CheckedFigure> {
        self.doubts.wrong()
    }
}

/// The place of a queue whose network namespace is known: in another one the same index is another interface.
fn place(queue: &KernelQueue) -> Option<Place> {
    namespace(queue)?;
    device(queue).zip(hardware_queue(queue))
}

/// What netlink says otherwise of the interface and the hardware queue.
fn of_place(queue: &KernelQueue, (ifindex, number): Place, there: &NicSample) -> Vec<BrokenRule> {
    let Some(name) = there.names.get(&ifindex) else {
        let rule = "of an interface that netlink knows".to_owned();
        return vec![BrokenRule { figure: "place", rule, shown: format!("of interface {ifindex}") }];
    };
    let mut broken = Vec::new();
    // Netlink lists no queue of an interface that is down.
    let listed = there.listed_queues.as_ref().and_then(|listed| listed.get(&ifindex));
    if let Some(zcrx) = listed.filter(|zcrx| !zcrx.contains(&number)) {
        let rule = format!("one of {zcrx:?} of {name}, by netlink");
        broken.push(BrokenRule { figure: "place", rule, shown: number.to_string() });
    }
    if let Some(shown) = queue.interface.as_ref().filter(|shown| *shown != name && queue.physical.is_none()) {
        let (rule, shown) = (format!("{name} by netlink"), shown.clone());
        broken.push(BrokenRule { figure: "interface", rule, shown });
    }
    broken
}

/// What netlink says otherwise of the page pool.
fn of_pool(
    queue: &KernelQueue,
    known: &PagePool,
    before: &BTreeMap<u64, Inflight>,
    inflight: &mut BTreeMap<u64, Inflight>,
) -> Vec<BrokenRule> {
    let mut broken = Vec::new();
    if let Some((shown, known)) = queue.pool.map(|pool| u64::from(pool.inflight())).zip(known.inflight) {
        inflight.insert(queue.ifq, (shown, known));
        if before.get(&queue.ifq) == Some(&(shown, known)) && shown.abs_diff(known) > AT_REST {
            let (rule, shown) = (format!("{known} by netlink"), shown.to_string());
            broken.push(BrokenRule { figure: "pool.inflight", rule, shown });
        }
    }
    if let Some((known, shown)) = known.napi_id.zip(queue.napi_id)
        && known != u64::from(shown)
    {
        let (rule, shown) = (format!("{known} by netlink"), shown.to_string());
        broken.push(BrokenRule { figure: "napi_id", rule, shown });
    }
    broken
}

/// Gives an interface the name that netlink knows it by, where the snapshot has none.
fn name_interface(queue: &mut Arc<KernelQueue>, nic: &NicSample) {
    if queue.interface.is_none()
        && queue.physical.is_none()
        && let (Some((ifindex, _)), Ok(there)) = (place(queue), nic.of(queue))
        && let Some(name) = there.names.get(&ifindex)
    {
        Arc::make_mut(queue).interface = Some(name.clone());
    }
}

#[cfg(test)]
#[path = "second_source_tests.rs"]
mod tests;
