//! Puts the records of one snapshot together.

use std::{collections::BTreeMap, time::Duration};

use zcrx_common::snapshot::{
    Area, HAS_DEVICE, HAS_MORE_IDS, HAS_POOL, HAS_REFILL, NO_ID, Queue, REGISTERED, Ring, kind,
};

use super::{
    super::registration::text,
    sockets::{self, Sums},
};
use crate::model::{AreaState, CqState, KernelQueue, KernelSnapshot, Owner, PoolState, RefillState};

/// The records so far.
#[derive(Default)]
pub(super) struct Assembly {
    /// By address of ring or exported queue.
    owners: BTreeMap<u64, Vec<Owner>>,
    /// By address of ring.
    cqs: BTreeMap<u64, CqState>,
    /// By address of queue.
    queues: BTreeMap<u64, Queue>,
    /// By address of queue and index.
    areas: BTreeMap<(u64, u32), Area>,
    more_ids: bool,
}

impl Assembly {
    /// Takes one record. What is too short or of no known kind cannot come from our programs.
    pub(super) fn add(&mut self, record: &[u8]) {
        match record.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) {
            Some(kind::RING | kind::EXPORTED) => {
                if let Some(ring) = copy::<Ring>(record) {
                    self.add_owner(&ring);
                }
            }
            Some(kind::QUEUE) => {
                if let Some(queue) = copy::<Queue>(record) {
                    self.add_queue(queue);
                }
            }
            Some(kind::AREA) => {
                if let Some(area) = copy::<Area>(record) {
                    self.areas.insert((area.ifq, area.index), area);
                }
            }
            _ => {}
        }
    }

    fn add_owner(&mut self, ring: &Ring) {
        let fd = (ring.fd != REGISTERED).then_some(ring.fd);
        let owners = self.owners.entry(ring.address).or_default();
        match owners.iter_mut().find(|owner| owner.pid == ring.pid) {
            // A ring that is registered with a thread usually has its descriptor open as well.
            Some(owner) => owner.fd = owner.fd.or(fd),
            None => owners.push(Owner {
                pid: ring.pid,
                comm: text(&ring.comm),
                fd,
                cgroup: (ring.cgroup != 0).then_some(ring.cgroup),
            }),
        }
        if ring.kind == kind::RING {
            self.more_ids |= ring.known & HAS_MORE_IDS != 0;
            if ring.cq_entries != 0 {
                let cq = CqState {
                    entries: ring.cq_entries,
                    head: ring.cq_head,
                    tail: ring.cq_tail,
                    overflow: ring.cq_overflow,
                };
                self.cqs.insert(ring.address, cq);
            }
        }
    }

    /// A queue can be found through its ring and through an exported file: the ring says more.
    fn add_queue(&mut self, queue: Queue) {
        let known = self.queues.entry(queue.ifq).or_insert(queue);
        if known.ring == 0 {
            *known = queue;
        }
    }

    pub(super) fn finish(
        self,
        began: Duration,
        ended: Duration,
        mut incomplete: Vec<String>,
        sums: Result<&Sums, &str>,
    ) -> KernelSnapshot {
        if self.more_ids {
            incomplete.push("a ring has queue ids above 4095, which are not looked at".to_owned());
        }
        let mut queues: Vec<_> = self.queues.values().map(|queue| self.queue(queue)).collect();
        let mut queues_of = BTreeMap::new();
        for owner in queues.iter().flat_map(|queue| &queue.owners) {
            *queues_of.entry(owner.pid).or_insert(0) += 1;
        }
        for queue in &mut queues {
            sockets::lay(queue, &queues_of, sums);
        }
        KernelSnapshot { began, ended, queues, incomplete, discovery: None }
    }

    fn queue(&self, queue: &Queue) -> KernelQueue {
        let has = |what| queue.known & what != 0;
        let ring = (queue.ring != 0).then_some(queue.ring);
        let mut owners = ring.and_then(|ring| self.owners.get(&ring)).cloned().unwrap_or_default();
        for exported in self.owners.get(&queue.ifq).into_iter().flatten() {
            if owners.iter().all(|owner| owner.pid != exported.pid) {
                owners.push(exported.clone());
            }
        }
        let areas = self.areas.range((queue.ifq, 0)..=(queue.ifq, u32::MAX));
        KernelQueue {
            ifq: queue.ifq,
            ring,
            zcrx_id: (queue.zcrx_id != NO_ID).then_some(queue.zcrx_id),
            ifindex: has(HAS_DEVICE).then_some(queue.ifindex),
            interface: has(HAS_DEVICE).then(|| text(&queue.interface)).filter(|name| !name.is_empty()),
            netns: (has(HAS_DEVICE) && queue.netns != 0).then_some(u64::from(queue.netns)),
            queue: has(HAS_DEVICE).then_some(queue.if_rxq),
            owners,
            refill: has(HAS_REFILL).then_some(RefillState {
                entries: queue.entries,
                cached_head: queue.cached_head,
                tail: queue.tail,
            }),
            areas: areas.map(|(_, area)| state(area)).collect(),
            pool: has(HAS_POOL).then_some(PoolState {
                id: queue.pool_id,
                cache: Some(queue.pool_cache),
                held: queue.pool_held,
                released: queue.pool_released,
            }),
            cq: ring.and_then(|ring| self.cqs.get(&ring)).copied(),
            napi_id: (has(HAS_POOL) && queue.napi_id != 0).then_some(queue.napi_id),
            sockets: None,
            sockets_unknown: None,
            // What the probes on events counted is laid beside it afterwards.
            ..KernelQueue::default()
        }
    }
}

fn state(area: &Area) -> AreaState {
    let counted = area.scanned == area.buffers;
    AreaState {
        buffers: area.buffers,
        free: area.free,
        user_buffers: counted.then_some(area.user_buffers),
        user_references: counted.then_some(area.user_references),
        ..AreaState::default()
    }
}

/// Types of which every byte pattern is a value.
trait Record: Copy {}
impl Record for Ring {}
impl Record for Queue {}
impl Record for Area {}

/// Copies a record out of the ring buffer; `None` if it is too short.
fn copy<T: Record>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, any bytes are a `T`, and the read does not assume alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<T: Record>(record: &T) -> Vec<u8> {
        // SAFETY: the records have no padding (asserted where they are declared), so all bytes are initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of::<T>()) }.to_vec()
    }

    fn ring(address: u64, pid: u32, fd: u32) -> Ring {
        Ring { kind: kind::RING, pid, address, fd, cq_entries: 64, cq_head: 3, cq_tail: 5, ..Ring::default() }
    }

    fn queue(ring: u64, ifq: u64, known: u32) -> Queue {
        Queue { kind: kind::QUEUE, ring, ifq, known, if_rxq: 2, ..Queue::default() }
    }

    fn assemble(records: &[Vec<u8>]) -> KernelSnapshot {
        let mut assembly = Assembly::default();
        for record in records {
            assembly.add(record);
        }
        assembly.finish(Duration::ZERO, Duration::ZERO, Vec::new(), Ok(&Sums::new()))
    }

    #[test]
    fn a_ring_held_by_two_processes_is_one_queue_with_two_owners() {
        let snapshot = assemble(&[
            bytes(&ring(10, 1, 4)),
            bytes(&queue(10, 20, HAS_DEVICE)),
            bytes(&ring(10, 2, 4)),
            bytes(&ring(10, 1, REGISTERED)),
        ]);
        assert_eq!(snapshot.queues.len(), 1);
        let owners: Vec<_> = snapshot.queues[0].owners.iter().map(|owner| (owner.pid, owner.fd)).collect();
        assert_eq!(owners, [(1, Some(4)), (2, Some(4))]);
        assert_eq!(snapshot.queues[0].cq.map(|cq| cq.depth()), Some(2));
    }

    #[test]
    fn an_exported_queue_belongs_to_whoever_holds_the_file_too() {
        let exported = Ring { kind: kind::EXPORTED, cq_entries: 0, ..ring(20, 3, 9) };
        let records = [bytes(&exported), bytes(&queue(0, 20, 0))];
        let alone = assemble(&records);
        assert_eq!((alone.queues[0].ring, alone.queues[0].cq), (None, None));
        assert_eq!(alone.queues[0].owners.len(), 1);
        let both = assemble(&[&records[..], &[bytes(&ring(10, 1, 4)), bytes(&queue(10, 20, 0))]].concat());
        assert_eq!(both.queues.len(), 1);
        assert_eq!(both.queues[0].ring, Some(10));
        assert_eq!(both.queues[0].owners.len(), 2);
    }

    #[test]
    fn areas_come_in_order_and_a_partial_count_is_no_count() {
        let area = |index, scanned| Area {
            kind: kind::AREA,
            index,
            ifq: 20,
            buffers: 256,
            free: 1,
            scanned,
            user_buffers: 7,
            user_references: 9,
        };
        let records = [area(1, 128), area(0, 256)];
        let snapshot = assemble(&[
            bytes(&ring(10, 1, 4)),
            bytes(&queue(10, 20, 0)),
            bytes(&records[0]),
            bytes(&records[1]),
        ]);
        let counts: Vec<_> = snapshot.queues[0].areas.iter().map(|area| area.user_buffers).collect();
        assert_eq!(counts, [Some(7), None]);
        assert_eq!(snapshot.queues[0].user_buffers(), None);
    }

    #[test]
    fn what_was_not_found_is_unknown() {
        let snapshot = assemble(&[bytes(&ring(10, 1, 4)), bytes(&queue(10, 20, 0))]);
        let queue = &snapshot.queues[0];
        assert_eq!((queue.ifindex, queue.queue, queue.netns), (None, None, None));
        assert_eq!((queue.refill, queue.pool), (None, None));
        assert_eq!(queue.interface, None);
    }

    #[test]
    fn damaged_records_are_passed_over() {
        let ring = ring(10, 1, 4);
        assert_eq!(assemble(&[bytes(&ring)[..20].to_vec(), vec![9, 0, 0, 0], vec![], vec![1, 0]]).queues, []);
    }
}
