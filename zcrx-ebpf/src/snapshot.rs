//! The state of every interface queue on the host, read when user space asks.
//!
//! `iter/task_file` meets every open file of every process, `iter/task` every thread: rings that were registered
//! with a thread and then closed are found by it alone. A ring's queues are walked once per snapshot, however
//! many processes hold the ring.
//!
//! Nothing is locked: a queue that vanishes meanwhile yields a record of what was left of it, or none, and no
//! read can fault. All pointers are scalars for the verifier and go through probe reads only.

mod area;
mod queue;
mod sockets;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_loop},
    macros::map,
    maps::{Array, LruHashMap, RingBuf, ring_buf::RingBufEntry},
};
use zcrx_common::{
    loss::SNAPSHOT_RECORD,
    snapshot::{Config, HAS_MORE_IDS, NO_ID, REGISTERED, Ring, kind},
};

use self::{
    queue::{QueueWalk, queue, visit_queue},
    sockets::note_owner,
};
use crate::{
    kernel::{has, offset, read},
    loss,
};

/// Entries of an xarray's node.
const NODE_SLOTS: u32 = 64;
/// Rings registered with one thread (the kernel's limit).
const REGISTERED_RINGS: u32 = 16;

#[map]
static SNAPSHOT_CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// The generation in which a ring or an exported queue was last walked, by address.
#[map]
static SNAPSHOT_SEEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

#[map]
static SNAPSHOT_RECORDS: RingBuf = RingBuf::with_byte_size(512 * 1024, 0);

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
        note_owner(record.pid, generation);
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
        let record = entry.write(Ring::default());
        own(record, kind::EXPORTED, task, fd, ifq);
        note_owner(record.pid, generation);
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
