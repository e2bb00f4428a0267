//! The copy fallback: data that the NIC did not place in the area is copied into buffers of the freelist.
//!
//! Runs once per copied fragment. Where a trampoline is used its exit sees the arguments and the result, which is all that is
//! needed; a kretprobe sees no arguments, so an entry notes them.

use aya_ebpf::{
    macros::{fexit, kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::event::{Call, THREADS};

use crate::event;

/// Size of a page as a power of two. Written by user space and frozen, like the offsets.
#[unsafe(no_mangle)]
static PAGE_SHIFT: u32 = 12;

/// The copy found no free buffer, or the area is a dmabuf.
const ENOMEM: i64 = -12;
/// The copy found the completion queue full.
const ENOSPC: i64 = -28;

#[map]
static COPY_CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(THREADS, 0);

#[fexit]
fn copy_fexit(ctx: FExitContext) -> i32 {
    // Behind the five arguments comes the result.
    copied(ctx.arg::<*const u8>(1) as u64, ctx.arg::<u64>(4), ctx.arg::<i64>(5));
    0
}

#[kprobe]
fn copy_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ifq), Some(bytes)) = (ctx.arg::<*const u8>(1), ctx.arg::<u64>(4)) {
        event::enter(&COPY_CALLS, Call { ifq: ifq as u64, notes: [bytes, 0] });
    }
    0
}

#[kretprobe]
fn copy_kretprobe(ctx: RetProbeContext) -> u32 {
    let call = event::leave(&COPY_CALLS);
    if call.ifq != 0 {
        copied(call.ifq, call.notes[0], ctx.ret::<i64>());
    }
    0
}

#[inline(always)]
fn page_shift() -> u32 {
    // SAFETY: a read of an initialised static. Volatile, because what the compiler sees is not what the kernel will see.
    let shift = unsafe { core::ptr::read_volatile(&raw const PAGE_SHIFT) };
    // The verifier has to see that it is no more than a shift may be.
    shift & 31
}

/// Counts a call that was to copy `bytes`. The kernel fills at most a page of each buffer, however large buffers are, and
/// says nothing of the reason if it copied some of the data before it ran out of buffers or completions.
#[inline(always)]
fn copied(ifq: u64, bytes: u64, result: i64) {
    let events = event::of(ifq);
    if events.is_null() {
        return;
    }
    // SAFETY: a value of a preallocated map, of which only addresses of fields are taken.
    unsafe {
        event::add(&raw mut (*events).copies, 1);
        if result <= 0 {
            event::add(&raw mut (*events).copies_failed, 1);
            if result == ENOMEM {
                event::add(&raw mut (*events).copies_without_buffer, 1);
            } else if result == ENOSPC {
                event::add(&raw mut (*events).copies_without_completion, 1);
            }
            return;
        }
        let copied = result as u64;
        let shift = page_shift();
        event::add(&raw mut (*events).copied_bytes, copied);
        event::add(&raw mut (*events).copied_buffers, (copied + (1 << shift) - 1) >> shift);
        if copied < bytes {
            event::add(&raw mut (*events).copies_partial, 1);
        }
    }
}
