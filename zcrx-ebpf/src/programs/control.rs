//! Control calls (`IORING_REGISTER_ZCRX_CTRL`): flush, export, arm an event, add an area.
//!
//! A flush consumes refill entries outside of the allocation: they are counted here. An allocation that runs at the same
//! moment on another CPU counts what both consumed.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::event::{Call, Outcome, THREADS, UNKNOWN_OPERATION, life::CONTROL_ASTRAY};

use crate::{
    event,
    kernel::{self, offset, read},
};

/// `ZCRX_CTRL_FLUSH_RQ`
const FLUSH: u32 = 0;

#[map]
static CONTROL_CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(THREADS, 0);

/// How `struct zcrx_ctrl` begins.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Control {
    zcrx_id: u32,
    op: u32,
}

#[fentry]
fn control_fentry(ctx: FEntryContext) -> i32 {
    entered(ctx.arg::<*const u8>(0) as u64, ctx.arg::<*const u8>(1) as u64);
    0
}

#[fexit]
fn control_fexit(ctx: FExitContext) -> i32 {
    // Behind the three arguments comes the result.
    left(ctx.arg::<u64>(3) as i32);
    0
}

#[kprobe]
fn control_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ring), Some(argument)) = (ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1)) {
        entered(ring as u64, argument as u64);
    }
    0
}

#[kretprobe]
fn control_kretprobe(ctx: RetProbeContext) -> u32 {
    left(ctx.ret::<u64>() as i32);
    0
}

#[inline(always)]
fn entered(ring: u64, argument: u64) {
    let mut control = Control::default();
    if !kernel::read_user(argument, &mut control) {
        // Without an id the queue is known only if there is a single one; the kernel most likely
        // cannot read it either.
        control = Control { zcrx_id: 0, op: UNKNOWN_OPERATION };
    }
    let ifq = kernel::find_queue(ring, control.zcrx_id);
    if ifq == 0 {
        event::lived(CONTROL_ASTRAY);
        return;
    }
    let head: u32 = read(ifq, offset!(ifq_cached_head));
    event::enter(&CONTROL_CALLS, Call { ifq, notes: [u64::from(control.op), u64::from(head)] });
}

#[inline(always)]
fn left(result: i32) {
    let call = event::leave(&CONTROL_CALLS);
    if call.ifq == 0 {
        return;
    }
    let events = event::of(call.ifq);
    if events.is_null() {
        return;
    }
    let operation = call.notes[0] as u32;
    let errno = if result < 0 { result.wrapping_neg() as u32 } else { 0 };
    let head: u32 = read(call.ifq, offset!(ifq_cached_head));
    // SAFETY: a value of a preallocated map, of which only addresses of fields are taken.
    unsafe {
        event::count(&raw mut (*events).controls, Outcome::control(operation, errno));
        if operation == FLUSH {
            event::add(&raw mut (*events).flushed, u64::from(head.wrapping_sub(call.notes[1] as u32)));
        }
    }
}
