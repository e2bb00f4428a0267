//! Receive calls: what a queue delivers to its owner, and how receives end.
//!
//! One call moves up to 20 packets from one socket into completions. Its result is the number of bytes only when nothing is
//! left; a call that has to come back for more answers with a code, so the bytes follow from how far the socket was
//! read.

use aya_ebpf::{
    helpers::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::LruHashMap,
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::event::{Call, THREADS};

use crate::{
    event,
    kernel::{has, offset, read},
};

/// "Call me again": the kernel's own, never seen by user space.
const REQUEUE: i32 = -3072;
/// Nothing to receive now.
const EAGAIN: i32 = -11;
/// Interrupted, before the kernel turns it into `EINTR`.
const ERESTARTSYS: i32 = -512;
/// Bit in `sk_flags`: the other side has ended the stream.
const SOCK_DONE: u64 = 1 << 1;

#[map]
static DELIVERY_CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(THREADS, 0);

#[fentry]
fn delivery_fentry(ctx: FEntryContext) -> i32 {
    entered(ctx.arg::<*const u8>(1) as u64, ctx.arg::<*const u8>(2) as u64);
    0
}

#[fexit]
fn delivery_fexit(ctx: FExitContext) -> i32 {
    // Behind the six arguments comes the result.
    left(ctx.arg::<u64>(6) as i32);
    0
}

#[kprobe]
fn delivery_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(ifq), Some(socket)) = (ctx.arg::<*const u8>(1), ctx.arg::<*const u8>(2)) {
        entered(ifq as u64, socket as u64);
    }
    0
}

#[kretprobe]
fn delivery_kretprobe(ctx: RetProbeContext) -> u32 {
    left(ctx.ret::<u64>() as i32);
    0
}

#[inline(always)]
fn entered(ifq: u64, socket: u64) {
    let sock: u64 = read(socket, offset!(socket_sock));
    let read_to: u32 = read(sock, offset!(tcp_copied_seq));
    event::enter(&DELIVERY_CALLS, Call { ifq, notes: [sock, u64::from(read_to)] });
}

#[inline(always)]
fn left(result: i32) {
    let call = event::leave(&DELIVERY_CALLS);
    if call.ifq == 0 {
        return;
    }
    let events = event::of(call.ifq);
    if events.is_null() {
        return;
    }
    let bytes = if result > 0 {
        result as u64
    } else if result == 0 || result == REQUEUE {
        advanced(call.notes[0], call.notes[1] as u32)
    } else {
        0
    };
    // SAFETY: a value of a preallocated map, of which only addresses of fields are taken; the clock helper has no
    // preconditions.
    unsafe {
        event::add(&raw mut (*events).receives, 1);
        if bytes != 0 {
            event::add(&raw mut (*events).received_bytes, bytes);
            (*events).received_ns = bpf_ktime_get_ns();
        }
        if result == EAGAIN {
            event::add(&raw mut (*events).receives_empty, 1);
        } else if result < 0 && result != REQUEUE {
            let errno = if result == ERESTARTSYS { 4 } else { -result };
            event::count(&raw mut (*events).errors, errno as u64);
        }
    }
}

/// How far a socket was read since, bytes. The end of the stream takes a sequence number of its own, which is no byte.
#[inline(always)]
fn advanced(sock: u64, before: u32) -> u64 {
    if !has(offset!(tcp_copied_seq)) {
        return 0;
    }
    let now: u32 = read(sock, offset!(tcp_copied_seq));
    let mut moved = now.wrapping_sub(before);
    let flags: u64 = read(sock, offset!(sock_flags));
    if moved != 0 && flags & SOCK_DONE != 0 && now == read::<u32>(sock, offset!(tcp_rcv_nxt)) {
        moved -= 1;
    }
    u64::from(moved)
}
