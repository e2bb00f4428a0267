//! The state of every interface queue on the host, read when user space asks.
//!
//! `iter/task_file` meets every open file of every process, `iter/task` every thread: rings that were registered
//! with a thread and then closed are found by it alone. A ring's queues are walked once per snapshot, however
//! many processes hold the ring.
//!
//! Nothing is locked: a queue that vanishes meanwhile yields a record of what was left of it, or none, and no
//! read can fault. All pointers are scalars for the verifier and go through probe reads only.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_loop, generated::bpf_probe_read_kernel},
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf, ring_buf::RingBufEntry},
};
use zcrx_common::{
    loss::SNAPSHOT_RECORD,
    snapshot::{
        Area, Config, HAS_DEVICE, HAS_MORE_IDS, HAS_POOL, HAS_REFILL, NO_ID, Queue, REGISTERED, Ring, kind,
    },
};

use crate::{
    kernel::{has, offset, read},
    loss,
};

/// Entries of an xarray's node.
const NODE_SLOTS: u32 = 64;
/// Areas of a queue (the kernel's limit).
const MOST_AREAS: u32 = 1024;
/// Page pools of one device that are looked at.
const MOST_POOLS: u32 = 4096;
/// Rings registered with one thread (the kernel's limit).
const REGISTERED_RINGS: u32 = 16;
/// Counters fetched by one probe read. More make the verifier walk a longer straight line.
const CHUNK: u32 = 128;

#[map]
static SNAPSHOT_CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// The generation in which a ring or an exported queue was last walked, by address.
#[map]
static SNAPSHOT_SEEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

#[map]
static SNAPSHOT_RECORDS: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);

#[map]
static SNAPSHOT_SCAN: PerCpuArray<Scan> = PerCpuArray::with_max_entries(1, 0);

#[map]
static SNAPSHOT_CHUNK: PerCpuArray<[u32; CHUNK as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Counting the references of one area. In a map, because the verifier does not follow what happens to values
/// in maps: sums on the stack would make every round of the loop a new state.
#[repr(C)]
struct Scan {
    counters: u64,
    references: u64,
    total: u32,
    scanned: u32,
    nonzero: u32,
}

/// Context of `iter/task_file`.
#[repr(C)]
pub(crate) struct TaskFile {
    meta: u64,
    task: u64,
    fd: u32,
    reserved: u32,
    file: u64,
}

/// Context of `iter/task`.
#[repr(C)]
pub(crate) struct Task {
    meta: u64,
    task: u64,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn snapshot_task_file(ctx: *const TaskFile) -> i32 {
    // SAFETY: the kernel passes a context of this shape. Volatile, so that each field is loaded with its own
    // width, as the verifier demands of contexts.
    let (task, fd, file) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx).task),
            core::ptr::read_volatile(&raw const (*ctx).fd),
            core::ptr::read_volatile(&raw const (*ctx).file),
        )
    };
    // The last call of an iteration has neither.
    if task != 0 && file != 0 {
        visit(task, fd, file);
    }
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn snapshot_task(ctx: *const Task) -> i32 {
    // SAFETY: as in `snapshot_task_file`.
    let task = unsafe { core::ptr::read_volatile(&raw const (*ctx).task) };
    if task == 0 || !has(offset!(registered_rings)) {
        return 0;
    }
    let rings: u64 = read(task, offset!(task_io_uring));
    if rings != 0 {
        let mut walk = RegisteredWalk { task, rings };
        each(REGISTERED_RINGS, visit_registered, &mut walk);
    }
    0
}

/// Calls `body(index, context)` for 0 to `rounds` until it returns 1.
#[inline(always)]
fn each<C>(rounds: u32, body: unsafe extern "C" fn(u64, *mut c_void) -> i64, context: &mut C) {
    // SAFETY: `body` is one of this module's callbacks and gets the context that it was written for, which
    // outlives the loop.
    unsafe { bpf_loop(rounds, body as *mut c_void, (&raw mut *context).cast(), 0) };
}

#[repr(C)]
struct RegisteredWalk {
    task: u64,
    rings: u64,
}

unsafe extern "C" fn visit_registered(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `snapshot_task` passes this context.
    let walk = unsafe { &*context.cast::<RegisteredWalk>() };
    let file: u64 = read(walk.rings + index * 8, offset!(registered_rings));
    if file != 0 {
        visit(walk.task, REGISTERED, file);
    }
    0
}

/// Looks at one file of one task.
#[inline(always)]
fn visit(task: u64, fd: u32, file: u64) {
    let Some(config) = SNAPSHOT_CONFIG.get_ptr_mut(0) else { return };
    // SAFETY: the map has one element, which lives as long as the program; user space does not write while it
    // reads the iterator.
    let config = unsafe { &mut *config };
    let operations: u64 = read(file, offset!(file_operations));
    if config.ring_operations == 0 {
        let own = (bpf_get_current_pid_tgid() >> 32) as u32;
        if fd == config.own_fd && read::<u32>(task, offset!(task_tgid)) == own {
            config.ring_operations = operations;
        }
        return;
    }
    if operations == 0 {
        return;
    }
    let private: u64 = read(file, offset!(file_private));
    if operations == config.ring_operations {
        visit_ring(task, fd, private, config.generation);
    } else if operations == config.exported_operations {
        visit_exported(task, fd, private, config.generation);
    }
}

#[inline(always)]
fn visit_ring(task: u64, fd: u32, ring: u64, generation: u64) {
    let head: u64 = read(ring, offset!(ring_queues));
    // Most rings have no queue: nothing to tell.
    if head == 0 {
        return;
    }
    // An xarray's head is a node (marked by 2), or a lone entry.
    let node = if head & 3 == 2 { head - 2 } else { 0 };
    let shift = if node != 0 { u32::from(read::<u8>(node, offset!(xa_node_shift))) } else { 0 };
    if let Some(mut entry) = reserve::<Ring>() {
        let record = entry.write(Ring::default());
        own(record, kind::RING, task, fd, ring);
        let shared: u64 = read(ring, offset!(ring_shared));
        if shared != 0 {
            record.cq_entries = read(ring, offset!(ring_cq_entries));
            record.cq_head = read(shared, offset!(cq_head));
            record.cq_tail = read(shared, offset!(cq_tail));
            record.cq_overflow = read(shared, offset!(cq_overflow));
        }
        if shift > 6 {
            record.known |= HAS_MORE_IDS;
        }
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    if !first_visit(ring, generation) {
        return;
    }
    let mut walk = QueueWalk { ring, node, lone: if node == 0 { head } else { 0 }, shift };
    let rounds = if node == 0 {
        1
    } else if shift == 0 {
        NODE_SLOTS
    } else {
        NODE_SLOTS * NODE_SLOTS
    };
    each(rounds, visit_queue, &mut walk);
}

#[inline(always)]
fn visit_exported(task: u64, fd: u32, ifq: u64, generation: u64) {
    if let Some(mut entry) = reserve::<Ring>() {
        own(entry.write(Ring::default()), kind::EXPORTED, task, fd, ifq);
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    if first_visit(ifq, generation) {
        queue(0, NO_ID, ifq);
    }
}

/// Fills in which process holds a ring or an exported queue.
#[inline(always)]
fn own(record: &mut Ring, kind: u32, task: u64, fd: u32, address: u64) {
    let leader: u64 = read(task, offset!(task_leader));
    let cgroups: u64 = read(task, offset!(task_cgroups));
    let cgroup: u64 = read(cgroups, offset!(css_set_cgroup));
    let node: u64 = read(cgroup, offset!(cgroup_node));
    record.kind = kind;
    record.pid = read(task, offset!(task_tgid));
    record.address = address;
    record.cgroup = read(node, offset!(kernfs_id));
    record.fd = fd;
    record.comm = read(leader, offset!(task_comm));
}

/// Whether this snapshot has not walked that ring or queue yet.
#[inline(always)]
fn first_visit(address: u64, generation: u64) -> bool {
    // SAFETY: the value is copied at once; one reader at a time writes the map.
    if unsafe { SNAPSHOT_SEEN.get(address) }.copied() == Some(generation) {
        return false;
    }
    let _ = SNAPSHOT_SEEN.insert(address, generation, 0);
    true
}

#[repr(C)]
struct QueueWalk {
    ring: u64,
    node: u64,
    lone: u64,
    shift: u32,
}

unsafe extern "C" fn visit_queue(index: u64, context: *mut c_void) -> i64 {
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
fn queue(ring: u64, zcrx_id: u32, ifq: u64) {
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

#[repr(C)]
struct AreaWalk {
    ifq: u64,
    /// Array of pointers to areas; 0 on kernels with one area.
    areas: u64,
}

unsafe extern "C" fn visit_area(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `queue` passes this context.
    let walk = unsafe { &*context.cast::<AreaWalk>() };
    let area: u64 =
        if walk.areas != 0 { read(walk.areas + index * 8, 0) } else { read(walk.ifq, offset!(ifq_area)) };
    if area == 0 {
        return 0;
    }
    let buffers: u32 = read(area, offset!(area_buffers));
    let scan = count_references(area, buffers);
    if let Some(mut entry) = reserve::<Area>() {
        let record = entry.write(Area::default());
        record.kind = kind::AREA;
        record.index = index as u32;
        record.ifq = walk.ifq;
        record.buffers = buffers;
        record.free = read(area, offset!(area_free));
        if !scan.is_null() {
            // SAFETY: this CPU's own value of a map, and one iterator is read at a time.
            let scan = unsafe { &*scan };
            record.scanned = scan.scanned;
            record.user_buffers = scan.nonzero;
            record.user_references = scan.references;
        }
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

/// Counts user space's references to the buffers of an area; null if they are not to be counted.
#[inline(always)]
fn count_references(area: u64, buffers: u32) -> *const Scan {
    let (Some(config), Some(scan)) = (SNAPSHOT_CONFIG.get_ptr(0), SNAPSHOT_SCAN.get_ptr_mut(0)) else {
        return core::ptr::null();
    };
    let counters: u64 = read(area, offset!(area_user_refs));
    // SAFETY: both are values of maps; the scan is this CPU's own, one iterator is read at a time, and the
    // configuration does not change meanwhile. The callback needs no context.
    unsafe {
        if counters == 0 || buffers > (*config).most_buffers {
            return core::ptr::null();
        }
        (*scan).counters = counters;
        (*scan).references = 0;
        (*scan).total = buffers;
        (*scan).scanned = 0;
        (*scan).nonzero = 0;
        bpf_loop(buffers.div_ceil(CHUNK), scan_chunk as *mut c_void, core::ptr::null_mut(), 0);
    }
    scan
}

unsafe extern "C" fn scan_chunk(index: u64, _context: *mut c_void) -> i64 {
    let (Some(scan), Some(chunk)) = (SNAPSHOT_SCAN.get_ptr_mut(0), SNAPSHOT_CHUNK.get_ptr_mut(0)) else {
        return 1;
    };
    // SAFETY: both are this CPU's own, and one iterator is read at a time.
    let (scan, chunk) = unsafe { (&mut *scan, &mut *chunk) };
    let start = index as u32 * CHUNK;
    if start >= scan.total {
        return 1;
    }
    let mut len = scan.total - start;
    if len > CHUNK {
        len = CHUNK;
    }
    let source = scan.counters + u64::from(start) * 4;
    // SAFETY: at most `CHUNK` counters are written to the chunk; a read that fails clears what it should have
    // filled, which is how the rest of a partial chunk gets its zeroes.
    let failed = unsafe {
        let target: *mut c_void = chunk.as_mut_ptr().cast();
        if len < CHUNK {
            bpf_probe_read_kernel(target, CHUNK * 4, core::ptr::null());
        }
        bpf_probe_read_kernel(target, len * 4, source as *const c_void)
    };
    if failed != 0 {
        return 1;
    }
    let (mut nonzero, mut references, mut position) = (0_u32, 0_u64, 0);
    while position < CHUNK as usize {
        // SAFETY: in bounds. Volatile keeps the loop a straight line of loads; every comparison would be a
        // branch that the verifier forks on, so "not zero" is taken from the sign of its negation.
        let counter = unsafe { core::ptr::read_volatile(chunk.as_ptr().add(position)) };
        nonzero += 0_u32.wrapping_sub(counter) >> 31;
        references += u64::from(counter);
        position += 1;
    }
    scan.nonzero += nonzero;
    scan.references += references;
    scan.scanned += len;
    0
}

/// Room for a record.
///
/// Records are filled in where they lie: one on the stack beside the callers' frames would be more than the 512
/// bytes that a program has.
#[inline(always)]
fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let entry = SNAPSHOT_RECORDS.reserve::<T>(0);
    if entry.is_none() {
        loss::count(SNAPSHOT_RECORD);
    }
    entry
}
