//! The state of every interface queue on the host, read when user space asks.
//!
//! Rings are found in two ways. The registry knows the rings that registered or imported a queue while its probes were attached:
//! reading it costs the same on every host. A walk finds the others: `iter/task_file` meets every open file of every process,
//! `iter/task` every thread, since rings that were registered with a thread and then closed are in no table of open files. A
//! ring's queues are read once per snapshot, however many processes hold the ring.
//!
//! Nothing is locked: a queue that vanishes meanwhile yields a record of what was left of it, or none, and no
//! read can fault. All pointers are scalars for the verifier and go through probe reads only.
//!
//! A ring, a consumer and a queue are recorded by functions with names of their own: the verifier checks such a global function once,
//! for any arguments. What is inlined it checks once for each path on which it is reached: paths multiply, and each state is compared
//! with all that were kept of other paths.

mod area;
mod consumer;
mod queue;
mod sockets;

use core::{ffi::c_void, mem::offset_of};

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_for_each_map_elem, bpf_get_current_pid_tgid, bpf_loop},
    macros::map,
    maps::{Array, LruHashMap, RingBuf, ring_buf::RingBufEntry},
};
use zcrx_common::{
    loss::SNAPSHOT_RECORD,
    snapshot::{Config, HAS_MIXED, HAS_MORE_IDS, HAS_NO_HOLDER, HAS_UNREAD, REGISTERED, Ring, kind},
};

use self::{
    consumer::{count_unread, snapshot_consumer},
    queue::{Ids, QueueWalk, SNAPSHOT_IDS, snapshot_queue, visit_queue},
};
use crate::{
    kernel::{self, has, offset, read},
    loss,
    programs::holders,
    registry,
};

/// Rings registered with one thread (the kernel's limit).
const REGISTERED_RINGS: u32 = 16;
/// Steps through a ring's queue ids. One step passes over all ids that an absent node stands for.
const MOST_STEPS: u32 = 1 << 16;

/// `IORING_SETUP_CQE_MIXED`: completions take one or two slots each. Linux 6.18.
const CQE_MIXED: u32 = 1 << 18;

/// How the dentry of an exported queue's file is named.
const EXPORTED_NAME: u64 = u64::from_le_bytes(*b"[zcrx]\0\0");
/// The bytes of that name and its end.
const EXPORTED_NAME_MASK: u64 = (1 << 56) - 1;

#[map]
static SNAPSHOT_CONFIG: Array<Config> = Array::with_max_entries(1, 0);

/// The generation in which a ring, a queue or a socket was last read, by address.
#[map]
static SNAPSHOT_SEEN: LruHashMap<u64, u64> = LruHashMap::with_max_entries(4096, 0);

/// The generation in which a holder of a ring or of an exported queue was last recorded, by address and process. A process may
/// duplicate a descriptor as often as it likes. Files are read process by process, so a holder that the table has forgotten is rarely met
/// again.
#[map]
static SNAPSHOT_RECORDED: LruHashMap<[u64; 2], u64> = LruHashMap::with_max_entries(1024, 0);

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
    let task: u64 = field(ctx, offset_of!(TaskFile, task));
    let fd: u32 = field(ctx, offset_of!(TaskFile, fd));
    let file: u64 = field(ctx, offset_of!(TaskFile, file));
    // The last call of an iteration has neither.
    if task != 0 && file != 0 {
        visit(task, fd, file);
    }
    0
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn snapshot_task(ctx: *const Task) -> i32 {
    let task: u64 = field(ctx, offset_of!(Task, task));
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

/// Reads the rings of the registry. User space reads the iterator for one thread, so this runs once.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn snapshot_registry(ctx: *const Task) -> i32 {
    let task: u64 = field(ctx, offset_of!(Task, task));
    if task == 0 {
        return 0;
    }
    let map = (&raw const registry::REGISTERED_RINGS).cast_mut().cast();
    // SAFETY: the callback gets keys of this map, and no context.
    unsafe { bpf_for_each_map_elem(map, visit_known as *mut c_void, core::ptr::null_mut(), 0) };
    0
}

/// A field of an iterator's context. Not loaded by the program, for which it would be a pointer to a type: a global function takes
/// numbers.
#[inline(always)]
fn field<C, T: Copy + Default>(ctx: *const C, offset: usize) -> T {
    read(ctx as u64, offset as u32)
}

unsafe extern "C" fn visit_known(
    _map: *mut c_void,
    key: *const u64,
    _value: *mut c_void,
    _context: *mut c_void,
) -> i64 {
    let Some(config) = SNAPSHOT_CONFIG.get_ptr(0) else { return 1 };
    // SAFETY: the kernel passes a key of the registry; the configuration does not change meanwhile.
    let (ring, generation) = unsafe { (*key, (*config).generation) };
    let consumer: u64 = read(ring, offset!(ring_consumer));
    // A thread that has exited holds nothing; only a walk finds other holders.
    let known = if read::<u32>(consumer, offset!(task_exit_state)) == 0 { 0 } else { HAS_NO_HOLDER };
    snapshot_ring(consumer, REGISTERED, ring, known, generation);
    snapshot_queues(ring, generation);
    if !registry::has(ring)
        && let Some(mut entry) = reserve::<Ring>()
    {
        // It was torn down meanwhile, and its memory may be another's.
        let record = entry.write(Ring::default());
        record.kind = kind::GONE;
        record.address = ring;
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
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
            config.superblock = superblock(file);
        }
        return;
    }
    if operations == 0 {
        return;
    }
    if operations == config.ring_operations {
        let ring: u64 = read(file, offset!(file_private));
        // Most rings have no queue: nothing to report.
        if read::<u64>(ring, offset!(ring_queues)) != 0 && is_new_holder(ring, task, fd, config.generation) {
            registry::add(ring);
            snapshot_ring(task, fd, ring, 0, config.generation);
            snapshot_queues(ring, config.generation);
        }
    } else if config.superblock != 0 && superblock(file) == config.superblock && is_exported(file) {
        let ifq: u64 = read(file, offset!(file_private));
        if is_new_holder(ifq, task, fd, config.generation) {
            visit_exported(task, fd, ifq, config.generation);
        }
    }
}

/// The superblock that a file is of.
#[inline(always)]
fn superblock(file: u64) -> u64 {
    let inode: u64 = read(file, offset!(file_inode));
    read(inode, offset!(inode_superblock))
}

/// Whether a file is an exported queue. The name decides: the file is on the superblock of the kernel's anonymous files, where user
/// space cannot name files.
#[inline(always)]
fn is_exported(file: u64) -> bool {
    if !has(offset!(file_dentry)) || !has(offset!(dentry_name)) {
        return false;
    }
    let dentry: u64 = read(file, offset!(file_dentry));
    let name: u64 = read(dentry, offset!(dentry_name));
    read::<u64>(name, 0) & EXPORTED_NAME_MASK == EXPORTED_NAME
}

/// Records a ring and who holds it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn snapshot_ring(task: u64, fd: u32, ring: u64, flags: u32, generation: u64) -> i32 {
    let head: u64 = read(ring, offset!(ring_queues));
    let shared: u64 = read(ring, offset!(ring_shared));
    let mut known = flags;
    let mut unread = 0;
    if shared != 0 && read::<u32>(ring, offset!(ring_flags)) & CQE_MIXED != 0 {
        known |= HAS_MIXED;
        if count_unread(shared, &mut unread) {
            known |= HAS_UNREAD;
        }
    }
    if let Some(mut entry) = reserve::<Ring>() {
        let record = entry.write(Ring::default());
        own(record, kind::RING, task, fd, ring);
        holders::note_found(record.pid, generation);
        record.known = known;
        record.cq_unread = unread;
        record.since_ns = registry::since(ring);
        if shared != 0 {
            record.cq_entries = read(ring, offset!(ring_cq_entries));
            record.cq_head = read(shared, offset!(cq_head));
            record.cq_tail = read(shared, offset!(cq_tail));
            record.cq_overflow = read(shared, offset!(cq_overflow));
        }
        if end(head) > kernel::MOST_IDS {
            record.known |= HAS_MORE_IDS;
        }
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    0
}

/// Records a ring's consumer and queues, unless this snapshot has them already. Apart from the ring itself, since all frames from the
/// program down to an area's callback share 512 bytes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn snapshot_queues(ring: u64, generation: u64) -> i32 {
    if !first_visit(ring, generation) {
        return 0;
    }
    snapshot_consumer(ring);
    let head: u64 = read(ring, offset!(ring_queues));
    let mut walk = QueueWalk { ring, shared: read(ring, offset!(ring_shared)), head };
    if let Some(ids) = SNAPSHOT_IDS.get_ptr_mut(0) {
        // SAFETY: this CPU's own value, and one iterator is read at a time.
        unsafe { *ids = Ids { next: 0, end: end(head), left: entries(head) } };
        each(MOST_STEPS, visit_queue, &mut walk);
    }
    0
}

/// One more than the largest id that an xarray has room for.
#[inline(always)]
fn end(head: u64) -> u64 {
    if head & 3 != 2 {
        return 1;
    }
    let shift = u64::from(read::<u8>(head - 2, offset!(xa_node_shift))) & 63;
    64 << shift
}

/// Number of an xarray's entries; more where one node does not show it.
#[inline(always)]
fn entries(head: u64) -> u64 {
    if head & 3 != 2 || !has(offset!(xa_node_count)) || read::<u8>(head - 2, offset!(xa_node_shift)) != 0 {
        return u64::MAX;
    }
    match read::<u8>(head - 2, offset!(xa_node_count)) {
        0 => u64::MAX,
        count => u64::from(count),
    }
}

#[inline(always)]
fn visit_exported(task: u64, fd: u32, ifq: u64, generation: u64) {
    if let Some(mut entry) = reserve::<Ring>() {
        let record = entry.write(Ring::default());
        own(record, kind::EXPORTED, task, fd, ifq);
        holders::note_found(record.pid, generation);
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    if first_visit(ifq, generation) {
        snapshot_queue(0, 0, ifq);
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

/// Whether this snapshot has not recorded yet that a task's process holds that ring or queue, by a descriptor or by a registration
/// with a thread.
#[inline(always)]
fn is_new_holder(address: u64, task: u64, fd: u32, generation: u64) -> bool {
    let process: u32 = read(task, offset!(task_tgid));
    let key = [address, u64::from(process) | u64::from(fd == REGISTERED) << 32];
    // SAFETY: the value is copied at once; one reader at a time writes the map.
    if unsafe { SNAPSHOT_RECORDED.get(key) }.copied() == Some(generation) {
        return false;
    }
    let _ = SNAPSHOT_RECORDED.insert(key, generation, 0);
    true
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
