//! The copy fallback: data that the NIC did not place in the area is copied into buffers of the freelist.

use aya_ebpf::{
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::event::{Call, THREADS};

use crate::{
    event,
    kernel::{has, offset, read},
};

/// Buffers are pages where the kernel knows no other size.
const PAGE_SHIFT: u32 = 12;

#[map]
static COPY_CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(THREADS, 0);

#[fentry]
fn copy_fentry(ctx: FEntryContext) -> i32 {
    entered(ctx.arg::<*const u8>(1) as u64);
    0
}

#[fexit]
fn copy_fexit(ctx: FExitContext) -> i32 {
    // Behind the five arguments comes the result.
    left(ctx.arg::<i64>(5));
    0
}

#[kprobe]
fn copy_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(ifq) = ctx.arg::<*const u8>(1) {
        entered(ifq as u64);
    }
    0
}

#[kretprobe]
fn copy_kretprobe(ctx: RetProbeContext) -> u32 {
    left(ctx.ret::<i64>());
    0
}

#[inline(always)]
fn entered(ifq: u64) {
    event::enter(&COPY_CALLS, Call { ifq, notes: [0; 2] });
}

#[inline(always)]
fn left(result: i64) {
    let call = event::leave(&COPY_CALLS);
    if call.ifq == 0 {
        return;
    }
    let events = event::of(call.ifq);
    if events.is_null() {
        return;
    }
    let shift = if has(offset!(ifq_niov_shift)) {
        // Masked, so that the verifier knows that it is no more than a shift may be.
        read::<u32>(call.ifq, offset!(ifq_niov_shift)) & 31
    } else {
        PAGE_SHIFT
    };
    // SAFETY: a value of a preallocated map, of which only addresses of fields are taken.
    unsafe {
        event::add(&raw mut (*events).copies, 1);
        if result < 0 {
            event::add(&raw mut (*events).copies_failed, 1);
            return;
        }
        let bytes = result as u64;
        event::add(&raw mut (*events).copied_bytes, bytes);
        event::add(&raw mut (*events).copied_buffers, (bytes + (1 << shift) - 1) >> shift);
    }
}
