//! Lives: page pools that zcrx provides for, queues, and rings that had queues.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::event::life::{POOL_BEGUN, POOL_ENDED, POOL_REFUSED, QUEUE_ENDED, RING_ENDED};

use crate::{
    event,
    kernel::{has, offset, read},
    programs::{allocation, residence},
    registry,
};

#[fexit]
fn pool_begin_fexit(ctx: FExitContext) -> i32 {
    // Behind the only argument comes the result.
    pool_begun(ctx.arg::<u64>(1) as i32);
    0
}

#[kretprobe]
fn pool_begin_kretprobe(ctx: RetProbeContext) -> u32 {
    pool_begun(ctx.ret::<u64>() as i32);
    0
}

#[fentry]
fn pool_end_fentry(_ctx: FEntryContext) -> i32 {
    event::lived(POOL_ENDED);
    0
}

#[kprobe]
fn pool_end_kprobe(_ctx: ProbeContext) -> u32 {
    event::lived(POOL_ENDED);
    0
}

#[fentry]
fn queue_end_fentry(ctx: FEntryContext) -> i32 {
    queue_ended(ctx.arg::<*const u8>(0) as u64);
    0
}

#[kprobe]
fn queue_end_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(ifq) = ctx.arg::<*const u8>(0) {
        queue_ended(ifq as u64);
    }
    0
}

#[fentry]
fn teardown_fentry(ctx: FEntryContext) -> i32 {
    torn_down(ctx.arg::<*const u8>(0) as u64);
    0
}

#[kprobe]
fn teardown_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(ring) = ctx.arg::<*const u8>(0) {
        torn_down(ring as u64);
    }
    0
}

#[inline(always)]
fn pool_begun(result: i32) {
    event::lived(if result == 0 { POOL_BEGUN } else { POOL_REFUSED });
}

/// The function frees the queue, or (under its other name) gives a reference back and frees with the last one.
#[inline(always)]
fn queue_ended(ifq: u64) {
    if has(offset!(ifq_refs)) && read::<u32>(ifq, offset!(ifq_refs)) > 1 {
        return;
    }
    event::lived(QUEUE_ENDED);
    allocation::forget(ifq);
    event::forget(ifq);
    residence::forget(ifq);
}

/// Every ring comes here at its end.
#[inline(always)]
fn torn_down(ring: u64) {
    registry::forget(ring);
    if read::<u64>(ring, offset!(ring_queues)) != 0 {
        event::lived(RING_ENDED);
    }
}
