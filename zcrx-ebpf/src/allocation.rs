//! The provider's allocation: how zcrx hands buffers to the NIC's page pool, and when it has none.
//!
//! Runs once per up to 64 buffers (256 from 7.3 on). The function refills the pool's cache either from the refill
//! ring or from the freelist; both are inlined into it, so what happened is told by what moved: the ring's head, and
//! the pool's count of buffers taken in, which only a freelist allocation raises.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::{LruHashMap, PerCpuArray},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::{
    allocation::{Key, QUEUES, State},
    loss::ALLOCATION_CALL,
};

use crate::{
    kernel::{offset, read},
    loss, residence,
};

#[map]
static ALLOCATIONS: LruHashMap<Key, State> = LruHashMap::with_max_entries(QUEUES, 0);

/// The pool whose call entered last on this CPU: a kretprobe does not see arguments.
#[map]
static ALLOCATION_POOL: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

#[fentry]
fn allocation_fentry(ctx: FEntryContext) -> i32 {
    entered(ctx.arg::<*const u8>(0) as u64);
    0
}

#[fexit]
fn allocation_fexit(ctx: FExitContext) -> i32 {
    // Behind the two arguments comes the result.
    left(ctx.arg::<*const u8>(0) as u64, ctx.arg::<u64>(2));
    0
}

#[kprobe]
fn allocation_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(pool), Some(slot)) = (ctx.arg::<*const u8>(0), ALLOCATION_POOL.get_ptr_mut(0)) {
        // SAFETY: this CPU's own value.
        unsafe { *slot = pool as u64 };
        entered(pool as u64);
    }
    0
}

#[kretprobe]
fn allocation_kretprobe(ctx: RetProbeContext) -> u32 {
    if let Some(slot) = ALLOCATION_POOL.get_ptr_mut(0) {
        // SAFETY: this CPU's own value.
        let pool = unsafe { core::ptr::replace(slot, 0) };
        if pool == 0 {
            // Another queue's call came in between, on this CPU.
            loss::count(ALLOCATION_CALL);
        } else {
            left(pool, ctx.ret::<u64>());
        }
    }
    0
}

/// The key of the queue that feeds a pool.
#[inline(always)]
pub(crate) fn key(pool: u64) -> Key {
    let ifq = read(pool, offset!(page_pool_provider_state));
    Key { ifq, pool_id: read(pool, offset!(page_pool_id)), reserved: 0 }
}

/// Forgets a pool that is gone.
#[inline(always)]
pub(crate) fn forget(pool: u64) {
    let _ = ALLOCATIONS.remove(key(pool));
}

#[inline(always)]
fn entered(pool: u64) {
    let key = key(pool);
    let state = match ALLOCATIONS.get_ptr_mut(key) {
        Some(state) => state,
        None => {
            let _ = ALLOCATIONS.insert(key, State::default(), u64::from(BPF_NOEXIST));
            match ALLOCATIONS.get_ptr_mut(key) {
                Some(state) => state,
                None => {
                    loss::count(ALLOCATION_CALL);
                    return;
                }
            }
        }
    };
    // SAFETY: a value of a preallocated map; calls for one pool do not overlap.
    let state = unsafe { &mut *state };
    state.head = read(key.ifq, offset!(ifq_cached_head));
    state.held = read(pool, offset!(page_pool_held));
    state.cached = read(pool, offset!(page_pool_cache));
    state.inside = 1;
    let ring: u64 = read(key.ifq, offset!(ifq_ring));
    if ring != 0 {
        let tail: u32 = read(ring, offset!(refill_tail));
        state.fullest = state.fullest.max(tail.wrapping_sub(state.head));
    }
}

#[inline(always)]
fn left(pool: u64, result: u64) {
    let key = key(pool);
    let Some(state) = ALLOCATIONS.get_ptr_mut(key) else { return };
    // SAFETY: as in `entered`.
    let state = unsafe { &mut *state };
    if state.inside == 0 {
        // It began before we were attached.
        return;
    }
    state.inside = 0;
    state.calls += 1;
    let head: u32 = read(key.ifq, offset!(ifq_cached_head));
    state.consumed += u64::from(head.wrapping_sub(state.head));
    // SAFETY: the clock helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if result == 0 {
        state.failures += 1;
        if state.starving_since_ns == 0 {
            state.starving_since_ns = now;
            state.starvations += 1;
        }
        return;
    }
    // One buffer is handed out, the others wait in the cache.
    let cached: u32 = read(pool, offset!(page_pool_cache));
    let buffers = cached.wrapping_add(1).wrapping_sub(state.cached);
    state.buffers += u64::from(buffers);
    let held: u32 = read(pool, offset!(page_pool_held));
    let from_freelist = held.wrapping_sub(state.held);
    state.from_freelist += u64::from(from_freelist);
    state.last_success_ns = now;
    if state.starving_since_ns != 0 {
        state.starved_ns += now - state.starving_since_ns;
        state.starving_since_ns = 0;
    }
    residence::returned(pool, key.ifq, result, buffers, from_freelist, now);
}
