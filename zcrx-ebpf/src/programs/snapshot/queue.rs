//! A ring's queues: the refill ring, the device, the page pool.

use core::ffi::c_void;

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, macros::map, maps::PerCpuArray};
use zcrx_common::snapshot::{
    After, HAS_DEVICE, HAS_LEASE, HAS_NAPI, HAS_POOL, HAS_REFILL, Member, Queue, kind,
};

use super::{
    SNAPSHOT_CONFIG,
    area::{AreaWalk, visit_area},
    each, first_visit, reserve,
};
use crate::kernel::{find_entry, has, offset, read};

/// Areas of a queue (the kernel's limit).
const MOST_AREAS: u32 = 1024;
/// Page pools of one device that are looked at.
const MOST_POOLS: u32 = 4096;

#[repr(C)]
pub(super) struct QueueWalk {
    pub(super) ring: u64,
    /// The memory that the ring shares with user space.
    pub(super) shared: u64,
    /// The xarray's head.
    pub(super) head: u64,
}

/// How far a ring's ids were looked at. In a map, because the verifier does not follow what happens to values in maps: on the stack
/// each id would be a new state.
#[repr(C)]
pub(super) struct Ids {
    /// The next id to look at.
    pub(super) next: u64,
    /// Where ids end.
    pub(super) end: u64,
    /// Queues that are still to be found. Most rings have one queue, in a node of 64 places.
    pub(super) left: u64,
}

#[map]
pub(super) static SNAPSHOT_IDS: PerCpuArray<Ids> = PerCpuArray::with_max_entries(1, 0);

pub(super) unsafe extern "C" fn visit_queue(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `snapshot_queues` passes this context.
    let walk = unsafe { &*context.cast::<QueueWalk>() };
    let Some(ids) = SNAPSHOT_IDS.get_ptr_mut(0) else { return 1 };
    // SAFETY: this CPU's own value, and one iterator is read at a time.
    let ids = unsafe { &mut *ids };
    let id = ids.next;
    if id >= ids.end {
        return 1;
    }
    let (ifq, span) = find_entry(walk.head, id);
    // The next id that is not of the same empty place.
    ids.next = (id | (span - 1)) + 1;
    if ifq == 0 {
        return 0;
    }
    if let Some(mut entry) = reserve::<Member>() {
        entry.write(Member { kind: kind::MEMBER, zcrx_id: id as u32, ring: walk.ring, ifq });
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    let Some(config) = SNAPSHOT_CONFIG.get_ptr(0) else { return 1 };
    // SAFETY: the configuration does not change while an iterator is read.
    if first_visit(ifq, unsafe { (*config).generation }) {
        snapshot_queue(walk.ring, walk.shared, ifq);
    }
    ids.left -= 1;
    i64::from(ids.left == 0)
}

/// Records one queue and its areas.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn snapshot_queue(ring: u64, shared: u64, ifq: u64) -> i32 {
    let netdev: u64 = read(ifq, offset!(ifq_netdev));
    let mut physical = 0;
    let mut pool = 0;
    if netdev != 0 {
        pool = snapshot_pool(netdev, ifq);
        if pool == 0 {
            physical = leased_device(netdev, ifq);
            if physical != 0 {
                pool = snapshot_pool(physical, ifq);
            }
        }
    }
    let many = has(offset!(ifq_areas));
    let mut count: u32 = if many { read(ifq, offset!(ifq_nr_areas)) } else { 1 };
    if count > MOST_AREAS {
        count = MOST_AREAS;
    }
    if let Some(mut entry) = reserve::<Queue>() {
        let record = entry.write(Queue::default());
        record.kind = kind::QUEUE;
        record.ring = ring;
        record.ifq = ifq;
        record.areas = count;
        record.if_rxq = read(ifq, offset!(ifq_rxq));
        record.buffer_shift = read(ifq, offset!(ifq_niov_shift));
        fill_refill(record, ifq);
        if netdev != 0 {
            fill_device(record, netdev);
        }
        if physical != 0 {
            record.known |= HAS_LEASE;
            record.physical_ifindex = read(physical, offset!(netdev_ifindex));
            record.physical = read(physical, offset!(netdev_name));
            let net: u64 = read(physical, offset!(netdev_net));
            record.physical_netns = read(net, offset!(net_inum));
            record.physical_rxq = if pool != 0 && has(offset!(page_pool_queue)) {
                read(pool, offset!(page_pool_queue))
            } else {
                u32::MAX
            };
        }
        if pool != 0 {
            fill_pool(record, pool);
        }
        if physical != 0 {
            fill_napi(record, physical, record.physical_rxq);
        } else if netdev != 0 {
            fill_napi(record, netdev, record.if_rxq);
        }
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    let areas: u64 = if many { read(ifq, offset!(ifq_areas)) } else { 0 };
    let mut walk = AreaWalk { ifq, areas };
    each(count, visit_area, &mut walk);
    if let Some(mut entry) = reserve::<After>() {
        let record = entry.write(After::default());
        record.kind = kind::AFTER;
        record.ifq = ifq;
        record.cached_head = read(ifq, offset!(ifq_cached_head));
        let refill: u64 = read(ifq, offset!(ifq_ring));
        record.tail = if refill == 0 { 0 } else { read(refill, offset!(refill_tail)) };
        record.cq_tail = if shared == 0 { 0 } else { read(shared, offset!(cq_tail)) };
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

/// The device whose queue is leased to this one, 0 if it is not leased.
#[inline(always)]
fn leased_device(netdev: u64, ifq: u64) -> u64 {
    if !has(offset!(rx_queue_lease)) || !has(offset!(netdev_queues)) || !has(offset!(rx_queue_size)) {
        return 0;
    }
    let queue = receive_queue(netdev, read(ifq, offset!(ifq_rxq)));
    if queue == 0 {
        return 0;
    }
    let lease: u64 = read(queue, offset!(rx_queue_lease));
    if lease == 0 { 0 } else { read(lease, offset!(rx_queue_device)) }
}

/// A receive queue of a device, 0 for none.
#[inline(always)]
fn receive_queue(netdev: u64, index: u32) -> u64 {
    let queues: u64 = read(netdev, offset!(netdev_queues));
    if queues == 0 || index == u32::MAX {
        return 0;
    }
    queues + u64::from(index) * u64::from(offset!(rx_queue_size))
}

/// The NAPI instance that polls a receive queue, as far as the driver names it to the kernel.
#[inline(always)]
fn fill_napi(record: &mut Queue, netdev: u64, index: u32) {
    if !has(offset!(netdev_queues)) || !has(offset!(rx_queue_size)) || !has(offset!(rx_queue_napi)) {
        return;
    }
    let queue = receive_queue(netdev, index);
    let napi: u64 = if queue == 0 { 0 } else { read(queue, offset!(rx_queue_napi)) };
    if napi != 0 {
        record.known |= HAS_NAPI;
        record.napi_state = read(napi, offset!(napi_state));
        record.napi_irq_suspend_ns = read(napi, offset!(napi_irq_suspend));
    }
}

#[inline(always)]
fn fill_refill(record: &mut Queue, ifq: u64) {
    let refill: u64 = read(ifq, offset!(ifq_ring));
    if refill != 0 {
        record.known |= HAS_REFILL;
        record.entries = read(ifq, offset!(ifq_entries));
        // Head before tail: what moves between the two reads can make the distance larger, never negative.
        record.cached_head = read(ifq, offset!(ifq_cached_head));
        record.tail = read(refill, offset!(refill_tail));
    }
}

#[inline(always)]
fn fill_device(record: &mut Queue, netdev: u64) {
    record.known |= HAS_DEVICE;
    record.ifindex = read(netdev, offset!(netdev_ifindex));
    record.interface = read(netdev, offset!(netdev_name));
    let net: u64 = read(netdev, offset!(netdev_net));
    record.netns = read(net, offset!(net_inum));
}

#[inline(always)]
fn fill_pool(record: &mut Queue, pool: u64) {
    record.known |= HAS_POOL;
    record.pool_id = read(pool, offset!(page_pool_id));
    record.pool_cache = read(pool, offset!(page_pool_cache));
    record.pool_ring = ring_length(pool);
    // Released before held: what moves between the two reads never makes the difference negative.
    record.pool_released = read(pool, offset!(page_pool_released));
    record.pool_held = read(pool, offset!(page_pool_held));
    let napi: u64 = read(pool, offset!(page_pool_napi));
    record.napi_id = if napi == 0 { 0 } else { read(napi, offset!(napi_id)) };
}

/// Buffers in a page pool's ring. Both indexes wrap at its size, so equal ones mean an empty ring or a full one.
#[inline(always)]
fn ring_length(pool: u64) -> u32 {
    let size: u32 = read(pool, offset!(page_pool_ring_size));
    let consumer: u32 = read(pool, offset!(page_pool_ring_consumer));
    let producer: u32 = read(pool, offset!(page_pool_ring_producer));
    let places: u64 = read(pool, offset!(page_pool_ring_places));
    if places == 0 || consumer >= size || producer >= size {
        return 0;
    }
    if producer > consumer {
        return producer - consumer;
    }
    if producer < consumer || read::<u64>(places + u64::from(consumer) * 8, 0) != 0 {
        return size - (consumer - producer);
    }
    0
}

#[repr(C)]
struct PoolWalk {
    /// Link of the next pool.
    link: u64,
    ifq: u64,
    /// The pool that the queue feeds, once found.
    found: u64,
}

/// The page pool of `netdev` that `ifq` provides for, 0 if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn snapshot_pool(netdev: u64, ifq: u64) -> u64 {
    if !has(offset!(page_pool_link)) || !has(offset!(page_pool_provider_state)) {
        return 0;
    }
    let mut walk = PoolWalk { link: read(netdev, offset!(netdev_page_pools)), ifq, found: 0 };
    each(MOST_POOLS, visit_pool, &mut walk);
    walk.found
}

unsafe extern "C" fn visit_pool(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `snapshot_pool` passes this context.
    let walk = unsafe { &mut *context.cast::<PoolWalk>() };
    if walk.link == 0 {
        return 1;
    }
    let pool = walk.link - u64::from(offset!(page_pool_link));
    if read::<u64>(pool, offset!(page_pool_provider_state)) == walk.ifq {
        walk.found = pool;
        return 1;
    }
    // The first word of a `struct hlist_node` is the next one.
    walk.link = read(walk.link, 0);
    0
}
