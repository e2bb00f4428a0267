//! Puts the records of one snapshot together.

mod estimate;
mod known;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use zcrx_common::snapshot::{
    After, Area, Consumer, HAS_DEVICE, HAS_LEASE, HAS_MIXED, HAS_MORE_IDS, HAS_NAPI, HAS_NO_HOLDER, HAS_POOL,
    HAS_REFILL, HAS_UNREAD, Member, NO_ID, Queue, REGISTERED, Ring, kind,
};

use super::sockets::{self, Sums};
use crate::model::{
    CqState, KernelQueue, KernelSnapshot, NapiState, Owner, PhysicalQueue, PoolState, QueueRing, RefillState,
    from_kernel,
};

pub(in crate::probe) use known::Known;

/// Above the number of every hardware queue: the kernel gives -1 to a queue without a device.
const NO_QUEUE: u32 = 1 << 16;

/// Consumers that had exited when a snapshot was taken, by ring.
pub(super) type Exits = BTreeSet<u64>;

/// The records so far.
pub(super) struct Assembly {
    known: Known,
    /// By address of ring or exported queue.
    owners: BTreeMap<u64, Vec<Owner>>,
    /// By address of ring.
    cqs: BTreeMap<u64, CqState>,
    /// When each ring entered the registry, by address.
    registered: BTreeMap<u64, u64>,
    /// By address of ring.
    consumers: BTreeMap<u64, Consumer>,
    /// Rings of each queue, in the order in which they were met, by address.
    members: BTreeMap<u64, Vec<Member>>,
    /// By address of queue.
    queues: BTreeMap<u64, Queue>,
    /// By address of queue.
    after: BTreeMap<u64, After>,
    /// By address of queue and index.
    areas: BTreeMap<(u64, u32), Area>,
    more_ids: bool,
}

impl Assembly {
    /// An assembly for records of a kernel with these fields.
    pub(super) fn new(known: Known) -> Self {
        Self {
            known,
            owners: BTreeMap::new(),
            cqs: BTreeMap::new(),
            registered: BTreeMap::new(),
            consumers: BTreeMap::new(),
            members: BTreeMap::new(),
            queues: BTreeMap::new(),
            after: BTreeMap::new(),
            areas: BTreeMap::new(),
            more_ids: false,
        }
    }

    /// Takes one record. What is too short or of no known kind cannot come from our programs.
    pub(super) fn add(&mut self, record: &[u8]) {
        let Some(kind) = record.first_chunk().map(|kind| u32::from_ne_bytes(*kind)) else { return };
        match kind {
            kind::RING | kind::EXPORTED => self.with(record, Self::add_owner),
            kind::QUEUE => self.with(record, Self::add_queue),
            kind::AREA => self.with(record, |all, area: Area| {
                all.areas.insert((area.ifq, area.index), area);
            }),
            kind::MEMBER => self.with(record, |all, member: Member| {
                all.members.entry(member.ifq).or_default().push(member);
            }),
            kind::CONSUMER => self.with(record, |all, consumer: Consumer| {
                all.consumers.insert(consumer.ring, consumer);
            }),
            kind::AFTER => self.with(record, |all, after: After| {
                all.after.insert(after.ifq, after);
            }),
            kind::GONE => self.with(record, |all, ring: Ring| all.forget(ring.address)),
            _ => {}
        }
    }

    fn with<T: Record>(&mut self, record: &[u8], take: impl FnOnce(&mut Self, T)) {
        if let Some(record) = copy(record) {
            take(self, record);
        }
    }

    fn add_owner(&mut self, ring: Ring) {
        if ring.known & HAS_NO_HOLDER == 0 {
            let owner = Owner {
                pid: ring.pid,
                comm: if self.known.owner_comm { from_kernel(&ring.comm) } else { String::new() },
                fd: (ring.fd != REGISTERED).then_some(ring.fd),
                cgroup: (ring.cgroup != 0).then_some(ring.cgroup),
            };
            self.add_holders(ring.address, &[owner]);
        } else {
            self.owners.entry(ring.address).or_default();
        }
        if ring.kind != kind::RING {
            return;
        }
        self.more_ids |= ring.known & HAS_MORE_IDS != 0;
        if ring.since_ns != 0 {
            self.registered.insert(ring.address, ring.since_ns);
        }
        if ring.cq_entries != 0 && self.known.cq {
            let cq = CqState {
                entries: ring.cq_entries,
                head: ring.cq_head,
                tail: ring.cq_tail,
                overflow: ring.cq_overflow,
                mixed: ring.known & HAS_MIXED != 0,
                unread: (ring.known & HAS_UNREAD != 0).then_some(ring.cq_unread),
            };
            self.cqs.insert(ring.address, cq);
        }
    }

    /// Adds processes that hold a ring or an exported queue, each once.
    pub(super) fn add_holders(&mut self, address: u64, holders: &[Owner]) {
        let owners = self.owners.entry(address).or_default();
        // No process has the id 0: the task was not one.
        for holder in holders.iter().filter(|holder| holder.pid != 0) {
            match owners.iter_mut().find(|owner| owner.pid == holder.pid) {
                // A ring that is registered with a thread usually has its descriptor open as well.
                Some(owner) => owner.fd = owner.fd.or(holder.fd),
                None => owners.push(holder.clone()),
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

    /// A ring was torn down while it was read: what was read of it, and of queues by it, means nothing.
    fn forget(&mut self, ring: u64) {
        self.owners.remove(&ring);
        self.cqs.remove(&ring);
        self.consumers.remove(&ring);
        for members in self.members.values_mut() {
            members.retain(|member| member.ring != ring);
        }
        self.queues.retain(|_, queue| queue.ring != ring);
    }

    /// Processes by address of ring or exported queue.
    pub(super) const fn owners(&self) -> &BTreeMap<u64, Vec<Owner>> {
        &self.owners
    }

    /// When each ring entered the registry, by address: another ring at the same address has another time.
    pub(super) fn take_registered(&mut self) -> BTreeMap<u64, u64> {
        std::mem::take(&mut self.registered)
    }

    /// Processes that hold any ring or exported queue.
    pub(super) fn processes(&self) -> BTreeSet<u32> {
        self.owners.values().flatten().map(|owner| owner.pid).collect()
    }

    /// Whether a ring or an exported queue is there.
    pub(super) fn has_ring(&self, address: u64) -> bool {
        self.owners.contains_key(&address) || self.queues.contains_key(&address)
    }

    /// Rings whose consumer has exited.
    pub(super) fn exits(&self) -> Exits {
        let exited = self.consumers.values().filter(|consumer| consumer.exit_state != 0);
        exited.map(|consumer| consumer.ring).collect()
    }

    pub(super) fn finish(
        self,
        began: Duration,
        ended: Duration,
        mut incomplete: Vec<String>,
        sums: Result<&Sums, &str>,
    ) -> KernelSnapshot {
        if self.more_ids {
            incomplete.push("a ring has queue ids above 262143, which are not read".to_owned());
        }
        let mut queues: Vec<_> = self.queues.values().map(|queue| self.queue(queue)).collect();
        let made = self.queues.values().zip(&queues);
        let in_part = made.filter(|(queue, made)| made.areas.is_empty() && self.is_in_part(queue)).count();
        if in_part > 0 {
            incomplete.push(format!("of {in_part} queues not every area could be read"));
        }
        let mut queues_of = BTreeMap::new();
        for owner in queues.iter().flat_map(|queue| &queue.owners) {
            *queues_of.entry(owner.pid).or_insert(0) += 1;
        }
        for queue in &mut queues {
            sockets::assign(queue, &queues_of, sums, self.known.sockets);
        }
        let queues = queues.into_iter().map(Arc::new).collect();
        KernelSnapshot { began, ended, queues, incomplete, discovery: None }
    }

    fn queue(&self, queue: &Queue) -> KernelQueue {
        let has = |what| queue.known & what != 0;
        let rings = self.rings(queue);
        let mut owners: Vec<Owner> = Vec::new();
        let exported = self.owners.get(&queue.ifq).into_iter().flatten();
        for owner in rings.iter().flat_map(|ring| &ring.owners).chain(exported) {
            if owners.iter().all(|known| known.pid != owner.pid) {
                owners.push(owner.clone());
            }
        }
        // Sums over a part of them would be wrong.
        let areas = self.areas_of(queue).map(|area| estimate::area(area, self.known.dmabuf, self.known.user));
        let mut areas: Vec<_> = areas.collect();
        if areas.len() < queue.areas as usize {
            areas.clear();
        }
        let known = self.known;
        let netns = |netns: u32| (netns != 0 && known.netns).then_some(u64::from(netns));
        let name = |name: &[u8; 16]| Some(from_kernel(name)).filter(|name| !name.is_empty());
        KernelQueue {
            ifq: queue.ifq,
            ring: rings.first().map(|ring| ring.id),
            zcrx_id: rings.first().and_then(|ring| ring.zcrx_id),
            ifindex: (has(HAS_DEVICE) && known.ifindex).then_some(queue.ifindex),
            interface: has(HAS_DEVICE).then(|| name(&queue.interface)).flatten(),
            netns: has(HAS_DEVICE).then(|| netns(queue.netns)).flatten(),
            // A number without a device is shown, so that it is noticed.
            queue: (has(HAS_DEVICE) || (1..NO_QUEUE).contains(&queue.if_rxq)).then_some(queue.if_rxq),
            owners,
            refill: (has(HAS_REFILL) && known.refill).then_some(RefillState {
                entries: queue.entries,
                cached_head: queue.cached_head,
                tail: queue.tail,
            }),
            areas,
            pool: (has(HAS_POOL) && known.pool).then_some(PoolState {
                id: queue.pool_id,
                cache: known.pool_cache.then_some(queue.pool_cache),
                ring: known.pool_ring.then_some(queue.pool_ring),
                held: queue.pool_held,
                released: queue.pool_released,
            }),
            // The ring that is closest to having no room left.
            cq: rings.iter().filter_map(|ring| ring.cq).max_by_key(CqState::used),
            napi_id: (has(HAS_POOL) && queue.napi_id != 0).then_some(queue.napi_id),
            napi: (has(HAS_NAPI) && known.napi_state).then(|| NapiState {
                irq_suspend: known.napi_irq_suspend.then(|| Duration::from_nanos(queue.napi_irq_suspend_ns)),
                ..NapiState::of_bits(queue.napi_state)
            }),
            buffer_bytes: 1_u32
                .checked_shl(queue.buffer_shift)
                .filter(|&bytes| bytes > 1 && known.buffer_bytes),
            physical: has(HAS_LEASE).then(|| PhysicalQueue {
                interface: name(&queue.physical),
                ifindex: known.ifindex.then_some(queue.physical_ifindex),
                netns: netns(queue.physical_netns),
                queue: (queue.physical_rxq != u32::MAX).then_some(queue.physical_rxq),
            }),
            moved: self.moved(queue),
            rings,
            // What the probes on events counted is laid beside it afterwards.
            ..KernelQueue::default()
        }
    }

    fn areas_of(&self, queue: &Queue) -> impl Iterator<Item = &Area> {
        self.areas.range((queue.ifq, 0)..=(queue.ifq, u32::MAX)).map(|(_, area)| area)
    }

    /// Whether some of a queue's areas are missing. One that has none yet is being registered.
    fn is_in_part(&self, queue: &Queue) -> bool {
        let (found, areas) = (self.areas_of(queue).count(), queue.areas as usize);
        found < areas && (found > 0 || areas > 1)
    }

    /// Every ring that has the queue: the one by which it was found first.
    fn rings(&self, queue: &Queue) -> Vec<QueueRing> {
        let members = self.members.get(&queue.ifq).map(Vec::as_slice).unwrap_or_default();
        let mut rings: Vec<QueueRing> = Vec::new();
        for member in members {
            if rings.iter().any(|ring| ring.id == member.ring) {
                continue;
            }
            let consumer = self.consumers.get(&member.ring).filter(|_| self.known.consumer);
            rings.push(QueueRing {
                id: member.ring,
                zcrx_id: (member.zcrx_id != NO_ID).then_some(member.zcrx_id),
                owners: self.owners.get(&member.ring).cloned().unwrap_or_default(),
                consumer: consumer.map(|consumer| self.known.task(consumer)),
                cq: self.cqs.get(&member.ring).copied(),
                work_pending: consumer.filter(|_| self.known.work).map(|consumer| consumer.work != 0),
                waiting: consumer.filter(|_| self.known.waiting).map(|consumer| consumer.waiting >= 0),
                ..QueueRing::default()
            });
        }
        rings
    }

    /// Entries and completions that moved while the queue was read.
    fn moved(&self, queue: &Queue) -> Option<u32> {
        let after =
            self.after.get(&queue.ifq).filter(|_| self.known.refill && queue.known & HAS_REFILL != 0)?;
        let completed = match self.cqs.get(&queue.ring) {
            Some(cq) => after.cq_tail.wrapping_sub(cq.tail),
            None => 0,
        };
        let consumed = after.cached_head.wrapping_sub(queue.cached_head);
        let published = after.tail.wrapping_sub(queue.tail);
        Some(completed.saturating_add(consumed).saturating_add(published))
    }
}

/// Types of which every byte pattern is a value.
trait Record: Copy {}
impl Record for Ring {}
impl Record for Queue {}
impl Record for Area {}
impl Record for Member {}
impl Record for Consumer {}
impl Record for After {}

/// Copies a record out of the ring buffer; `None` if it is too short.
fn copy<T: Record>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, any bytes are a `T`, and the read does not assume alignment.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
