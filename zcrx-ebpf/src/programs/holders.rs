//! Processes whose files may have changed without a call of zcrx: children of processes that hold a ring, and holders that execute
//! another program, which closes the ring.
//!
//! Runs at each fork and exec on the host: a look-up by process, and nothing more unless the process holds a ring. User space then
//! reads the files of that one process. A process for which the tables have no room is counted as lost, and user space then reads the
//! files of all.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    macros::{btf_tracepoint, map},
    maps::HashMap,
    programs::BtfTracePointContext,
};
use zcrx_common::{
    loss::HOLDER_CHANGE,
    snapshot::{CHANGES, OWNERS},
};

use crate::{
    kernel::{offset, read},
    loss,
    memory::ON_DEMAND,
};

/// Processes that hold a ring, with the generation of the snapshot that last said so; 0 before the first one.
#[map]
pub(crate) static SNAPSHOT_OWNERS: HashMap<u32, u64> = HashMap::with_max_entries(OWNERS, ON_DEMAND);

/// Processes whose files user space is to read, with the time of the change.
#[map]
static HOLDER_CHANGES: HashMap<u32, u64> = HashMap::with_max_entries(CHANGES, ON_DEMAND);

/// `sched_process_fork(struct task_struct *parent, struct task_struct *child)`: the child has its files already.
#[btf_tracepoint(function = "sched_process_fork")]
fn holder_fork_tp_btf(ctx: BtfTracePointContext) -> i32 {
    let (parent, child) = (ctx.arg::<*const u8>(0) as u64, ctx.arg::<*const u8>(1) as u64);
    let (old, new): (u32, u32) = (read(parent, offset!(task_tgid)), read(child, offset!(task_tgid)));
    // A new thread has the files of its process.
    if old != new && holds(old) {
        note(new);
        changed(new);
    }
    0
}

/// `sched_process_exec(struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)`: files that close on exec are closed.
#[btf_tracepoint(function = "sched_process_exec")]
fn holder_exec_tp_btf(ctx: BtfTracePointContext) -> i32 {
    let process: u32 = read(ctx.arg::<*const u8>(0) as u64, offset!(task_tgid));
    if holds(process) {
        changed(process);
    }
    0
}

/// Notes that the current process holds a ring.
#[inline(always)]
pub(crate) fn note_current() {
    note((bpf_get_current_pid_tgid() >> 32) as u32);
}

#[inline(always)]
fn note(process: u32) {
    if !holds(process)
        && SNAPSHOT_OWNERS.insert(process, 0, u64::from(BPF_NOEXIST)).is_err()
        && !holds(process)
    {
        loss::count(HOLDER_CHANGE);
    }
}

/// Notes which snapshot found that a process holds a ring.
#[inline(always)]
pub(crate) fn note_found(process: u32, generation: u64) {
    if SNAPSHOT_OWNERS.insert(process, generation, 0).is_err() {
        loss::count(HOLDER_CHANGE);
    }
}

#[inline(always)]
fn holds(process: u32) -> bool {
    SNAPSHOT_OWNERS.get_ptr(process).is_some()
}

#[inline(always)]
fn changed(process: u32) {
    // SAFETY: the clock helper has no preconditions.
    if HOLDER_CHANGES.insert(process, unsafe { bpf_ktime_get_ns() }, 0).is_err() {
        loss::count(HOLDER_CHANGE);
    }
}
