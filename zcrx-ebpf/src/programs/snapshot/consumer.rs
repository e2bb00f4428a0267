//! The thread that works for a ring, and the completions that wait for it.

use core::ffi::c_void;

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use zcrx_common::snapshot::{Consumer, kind};

use super::{each, reserve};
use crate::kernel::{has, offset, read};

/// Scheduling groups above a thread's own that are looked at.
const MOST_GROUPS: u32 = 8;
/// Slots of a completion queue that are looked at.
const MOST_SLOTS: u32 = 1 << 14;
/// Bytes of a slot of a ring with completions of both sizes.
const SLOT_BYTES: u64 = 16;
/// Where a completion's flags lie in its slot.
const FLAGS: u32 = 12;
/// `IORING_CQE_F_32`: the completion takes two slots.
const TWO_SLOTS: u32 = 1 << 15;
/// `IORING_CQE_F_SKIP`: the slot is padding.
const SKIP: u32 = 1 << 5;

/// Records the state of a ring's consumer.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn snapshot_consumer(ring: u64) -> i32 {
    let task: u64 = read(ring, offset!(ring_consumer));
    if task == 0 {
        return 0;
    }
    let Some(mut entry) = reserve::<Consumer>() else { return 0 };
    let record = entry.write(Consumer::default());
    record.kind = kind::CONSUMER;
    record.ring = ring;
    record.pid = read(task, offset!(task_tgid));
    record.tid = read(task, offset!(task_tid));
    record.state = read(task, offset!(task_state));
    record.exit_state = read(task, offset!(task_exit_state));
    record.job_control = read(task, offset!(task_job_control));
    record.cpu_ns = read(task, offset!(task_cpu_time));
    record.delay_ns = read(task, offset!(task_run_delay));
    record.waiting = read(ring, offset!(ring_waiting));
    record.work = u32::from(has_work(ring));
    record.comm = read(task, offset!(task_comm));
    let mut group: u64 = read(task, offset!(task_group));
    for _ in 0..MOST_GROUPS {
        if group != 0 {
            record.throttled_ns = record.throttled_ns.max(read(group, offset!(group_throttled)));
            group = read(group, offset!(group_parent));
        }
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    0
}

/// Whether task work waits that the consumer has not run.
#[inline(always)]
fn has_work(ring: u64) -> bool {
    if has(offset!(ring_work_tail)) && has(offset!(ring_work_stub)) {
        // The queue is empty while its last node is its stub.
        return read::<u64>(ring, offset!(ring_work_tail)) != ring + u64::from(offset!(ring_work_stub));
    }
    read::<u64>(ring, offset!(ring_work_first)) != 0 || read::<u64>(ring, offset!(ring_work_retry)) != 0
}

#[repr(C)]
struct SlotWalk {
    slots: u64,
    next: u32,
    tail: u32,
    mask: u32,
    unread: u32,
}

/// Counts the completions that wait in a ring whose completions take one or two slots each; says whether it could.
#[inline(always)]
pub(super) fn count_unread(shared: u64, unread: &mut u32) -> bool {
    if !has(offset!(cq_slots)) || !has(offset!(cq_mask)) {
        return false;
    }
    let head: u32 = read(shared, offset!(cq_head));
    let tail: u32 = read(shared, offset!(cq_tail));
    let mut walk = SlotWalk {
        slots: shared + u64::from(offset!(cq_slots)),
        next: head,
        tail,
        mask: read(shared, offset!(cq_mask)),
        unread: 0,
    };
    let waiting = tail.wrapping_sub(head);
    if waiting > MOST_SLOTS {
        return false;
    }
    each(waiting, visit_slot, &mut walk);
    *unread = walk.unread;
    true
}

unsafe extern "C" fn visit_slot(_index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `count_unread` passes this context.
    let walk = unsafe { &mut *context.cast::<SlotWalk>() };
    if walk.tail.wrapping_sub(walk.next) as i32 <= 0 {
        return 1;
    }
    let slot = walk.slots + u64::from(walk.next & walk.mask) * SLOT_BYTES;
    let flags: u32 = read(slot, FLAGS);
    if flags & SKIP == 0 {
        walk.unread += 1;
    }
    walk.next = walk.next.wrapping_add(if flags & TWO_SLOTS != 0 { 2 } else { 1 });
    0
}
