//! A ring's queues: the refill ring, the device, the page pool.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use zcrx_common::snapshot::{HAS_DEVICE, HAS_POOL, HAS_REFILL, Queue, kind};

use super::{
    area::{AreaWalk, visit_area},
    each, reserve,
};
use crate::kernel::{has, offset, read};

/// Areas of a queue (the kernel's limit).
const MOST_AREAS: u32 = 1024;
/// Page pools of one device that are looked at.
const MOST_POOLS: u32 = 4096;

#[repr(C)]
pub(super) struct QueueWalk {
    pub(super) ring: u64,
    /// The xarray's root node, 0 if there is none.
    pub(super) node: u64,
    /// The only entry, where there is no node.
    pub(super) lone: u64,
    /// Bits of the index below the root node.
    pub(super) shift: u32,
}

pub(super) unsafe extern "C" fn visit_queue(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `visit_ring` passes this context.
    let walk = unsafe { &*context.cast::<QueueWalk>() };
    let mut node = walk.node;
    let entry: u64 = if node == 0 {
        if !has(offset!(xa_node_slots)) {
            return 1;
        }
        walk.lone
    } else {
        if walk.shift != 0 {
            let child: u64 = read(node + (index / 64) * 8, offset!(xa_node_slots));
            if child & 3 != 2 {
                return 0;
            }
            node = child - 2;
        }
        read(node + (index % 64) * 8, offset!(xa_node_slots))
    };
    // Internal entries (reserved, retry) are marked in the low bits.
    if entry != 0 && entry & 3 == 0 {
        queue(walk.ring, index as u32, entry);
    }
    0
}

/// Records one queue and its areas.
#[inline(always)]
pub(super) fn queue(ring: u64, zcrx_id: u32, ifq: u64) {
    let netdev: u64 = read(ifq, offset!(ifq_netdev));
    let pool = if netdev == 0 { 0 } else { find_pool(netdev, ifq) };
    let many = has(offset!(ifq_areas));
    let mut count: u32 = if many { read(ifq, offset!(ifq_nr_areas)) } else { 1 };
    if count > MOST_AREAS {
        count = MOST_AREAS;
    }
    if let Some(mut entry) = reserve::<Queue>() {
        let record = entry.write(Queue::default());
        record.kind = kind::QUEUE;
        record.zcrx_id = zcrx_id;
        record.ring = ring;
        record.ifq = ifq;
        record.areas = count;
        fill_refill(record, ifq);
        if netdev != 0 {
            fill_device(record, ifq, netdev);
        }
        if pool != 0 {
            fill_pool(record, pool);
        }
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    let areas: u64 = if many { read(ifq, offset!(ifq_areas)) } else { 0 };
    let mut walk = AreaWalk { ifq, areas };
    each(count, visit_area, &mut walk);
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
fn fill_device(record: &mut Queue, ifq: u64, netdev: u64) {
    record.known |= HAS_DEVICE;
    record.if_rxq = read(ifq, offset!(ifq_rxq));
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
    // Released before held: what moves between the two reads never makes the difference negative.
    record.pool_released = read(pool, offset!(page_pool_released));
    record.pool_held = read(pool, offset!(page_pool_held));
    let napi: u64 = read(pool, offset!(page_pool_napi));
    record.napi_id = if napi == 0 { 0 } else { read(napi, offset!(napi_id)) };
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
#[inline(always)]
fn find_pool(netdev: u64, ifq: u64) -> u64 {
    if !has(offset!(page_pool_link)) || !has(offset!(page_pool_provider_state)) {
        return 0;
    }
    let mut walk = PoolWalk { link: read(netdev, offset!(netdev_page_pools)), ifq, found: 0 };
    each(MOST_POOLS, visit_pool, &mut walk);
    walk.found
}

unsafe extern "C" fn visit_pool(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `find_pool` passes this context.
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
