//! Identities of queues and rings: numbers that are never used again.
//!
//! The kernel's addresses distinguish queues at one moment, but the kernel soon reuses an address, and no user should see one.
//! So zcrxd gives each queue a number when it first finds the queue. The next snapshot shows the same queue if the address and one
//! of its rings are the same: a queue without a ring cannot get another one. A ring is the same if it entered the registry at
//! the same time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::KernelSnapshot;

/// Address of a ring, and when it entered the registry; 0 for a ring that is not in it.
type RingPlace = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Identities {
    queues: BTreeMap<u64, Queue>,
    rings: BTreeMap<RingPlace, u64>,
    last: u64,
}

#[derive(Debug)]
struct Queue {
    id: u64,
    rings: Vec<RingPlace>,
}

impl Identities {
    /// Replaces the addresses in a snapshot, given when each ring entered the registry.
    pub(super) fn replace(&mut self, snapshot: &mut KernelSnapshot, registered: &BTreeMap<u64, u64>) {
        let mut queues = BTreeMap::new();
        let mut rings = BTreeMap::new();
        for queue in snapshot.queues.iter_mut().map(Arc::make_mut) {
            let place = |ring: u64| (ring, registered.get(&ring).copied().unwrap_or(0));
            let places: Vec<RingPlace> = queue.rings.iter().map(|ring| place(ring.id)).collect();
            let address = queue.ifq;
            let known = self.queues.get(&address).filter(|known| {
                // Without a ring it is known by an exported file, which keeps its address from being used again.
                places.is_empty()
                    || known.rings.is_empty()
                    || places.iter().any(|ring| known.rings.contains(ring))
            });
            queue.ifq = match known {
                Some(known) => known.id,
                None => self.next(),
            };
            for (ring, place) in queue.rings.iter_mut().zip(&places) {
                let id = rings.get(place).or_else(|| self.rings.get(place)).copied();
                let id = id.unwrap_or_else(|| self.next());
                rings.insert(*place, id);
                ring.id = id;
            }
            queue.ring = queue.rings.first().map(|ring| ring.id);
            queues.insert(address, Queue { id: queue.ifq, rings: places });
        }
        self.queues = queues;
        self.rings = rings;
    }

    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KernelQueue, QueueRing};

    fn queue(ifq: u64, rings: &[u64]) -> KernelQueue {
        let rings = rings.iter().map(|&id| QueueRing { id, ..QueueRing::default() }).collect();
        KernelQueue { ifq, rings, ..KernelQueue::default() }
    }

    /// The identity of a queue at address 7 with these rings.
    fn identity(identities: &mut Identities, rings: &[(u64, u64)]) -> u64 {
        let addresses: Vec<u64> = rings.iter().map(|(ring, _)| *ring).collect();
        let mut snapshot =
            KernelSnapshot { queues: vec![queue(7, &addresses).into()], ..KernelSnapshot::default() };
        identities.replace(&mut snapshot, &rings.iter().copied().collect());
        snapshot.queues[0].ifq
    }

    #[test]
    fn a_queue_keeps_its_identity_while_one_of_its_rings_stays() {
        let mut identities = Identities::default();
        let first = identity(&mut identities, &[(50, 1)]);
        assert_eq!(identity(&mut identities, &[(50, 1)]), first);
        assert_eq!(identity(&mut identities, &[(50, 1), (51, 2)]), first, "a second ring imported it");
        assert_eq!(identity(&mut identities, &[(51, 2)]), first, "the first ring went");
    }

    #[test]
    fn an_address_that_is_used_again_is_another_queue() {
        let mut identities = Identities::default();
        let first = identity(&mut identities, &[(50, 1)]);
        let second = identity(&mut identities, &[(50, 9)]);
        assert_ne!(second, first, "the ring at the same address is another one");
        let third = identity(&mut identities, &[(60, 9)]);
        assert_ne!(third, second);
        identities.replace(&mut KernelSnapshot::default(), &BTreeMap::new());
        assert!(identity(&mut identities, &[(60, 9)]) > third, "it was gone");
    }

    #[test]
    fn a_ring_with_two_queues_has_one_identity() {
        let mut snapshot = KernelSnapshot {
            queues: vec![queue(7, &[50]).into(), queue(8, &[50]).into()],
            ..KernelSnapshot::default()
        };
        Identities::default().replace(&mut snapshot, &BTreeMap::new());
        assert_eq!(snapshot.queues[0].rings[0].id, snapshot.queues[1].rings[0].id);
        assert_ne!(snapshot.queues[0].ifq, snapshot.queues[1].ifq);
    }
}
