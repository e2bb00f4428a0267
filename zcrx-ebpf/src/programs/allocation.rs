//! The provider's allocation: how zcrx hands buffers to the NIC's page pool, and when it has none.
//!
//! Runs once per up to 64 buffers (256 from 7.3 on). The function refills the pool's cache either from the refill
//! ring or from the freelist. The compiler inlines both, so the program infers the source from two changes: the ring's
//! head, and the pool's count of buffers taken in, which only a freelist allocation raises.

use core::hint::black_box;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe, kretprobe, map},
    maps::{Array, HashMap, PerCpuArray},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use zcrx_common::{
    allocation::{BATCH_BUCKETS, QUEUES, STARVATION_BUCKETS, State, bucket},
    loss::ALLOCATION_CALL,
};

use crate::{
    atomic::add,
    kernel::{has, offset, read},
    loss,
    memory::ON_DEMAND,
    programs::residence,
};

#[map]
static ALLOCATIONS: HashMap<u64, State> = HashMap::with_max_entries(QUEUES, ON_DEMAND);

/// Number of the interval between two samples. User space counts it on; extremes of an older interval are replaced.
#[map]
static ALLOCATION_INTERVAL: Array<u32> = Array::with_max_entries(1, 0);

/// What the map begins an entry with: too long for the stack.
static FRESH: State = State {
    calls: 0,
    failures: 0,
    buffers: 0,
    consumed: 0,
    from_freelist: 0,
    last_success_ns: 0,
    starving_since_ns: 0,
    starvations: 0,
    starved_ns: 0,
    head: 0,
    held: 0,
    cached: 0,
    inside: 0,
    fullest: 0,
    interval: 0,
    interval_calls: 0,
    interval_pending: 0,
    interval_allocatable: u32::MAX,
    reserved: 0,
    interval_starvation_ns: 0,
    consumed_by_call: [0; BATCH_BUCKETS],
    yielded_by_call: [0; BATCH_BUCKETS],
    starvation_lengths: [0; STARVATION_BUCKETS],
};

/// Areas whose freelists are added up; with more areas the free buffers are not known here.
const MOST_AREAS: u32 = 4;

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

/// The queue that feeds a pool.
#[inline(always)]
pub(crate) fn queue_of(pool: u64) -> u64 {
    read(pool, offset!(page_pool_provider_state))
}

/// Forgets a queue that is gone: its address will be used again.
#[inline(always)]
pub(crate) fn forget(ifq: u64) {
    let _ = ALLOCATIONS.remove(ifq);
}

#[inline(always)]
fn entered(pool: u64) {
    let ifq = queue_of(pool);
    let state = match ALLOCATIONS.get_ptr_mut(ifq) {
        Some(state) => state,
        None => {
            #[expect(
                clippy::needless_borrows_for_generic_args,
                reason = "a copy would go over the 512-byte stack"
            )]
            let _ = ALLOCATIONS.insert(ifq, &FRESH, u64::from(BPF_NOEXIST));
            match ALLOCATIONS.get_ptr_mut(ifq) {
                Some(state) => state,
                None => {
                    loss::count(ALLOCATION_CALL);
                    return;
                }
            }
        }
    };
    // SAFETY: a value of a preallocated map; calls for one queue do not overlap.
    let state = unsafe { &mut *state };
    state.head = read(ifq, offset!(ifq_cached_head));
    state.held = read(pool, offset!(page_pool_held));
    state.cached = read(pool, offset!(page_pool_cache));
    state.inside = 1;
    let interval = interval();
    if state.interval != interval {
        state.interval = interval;
        state.interval_calls = 0;
        state.interval_pending = 0;
        state.interval_allocatable = u32::MAX;
        state.interval_starvation_ns = 0;
    }
    state.interval_calls += 1;
    let ring: u64 = read(ifq, offset!(ifq_ring));
    if ring == 0 || !has(offset!(refill_tail)) {
        return;
    }
    let tail: u32 = read(ring, offset!(refill_tail));
    let pending = tail.wrapping_sub(state.head);
    state.fullest = state.fullest.max(pending);
    state.interval_pending = state.interval_pending.max(pending);
    let free = free(ifq);
    if free != u32::MAX {
        state.interval_allocatable = state.interval_allocatable.min(free.saturating_add(pending));
    }
}

#[inline(always)]
fn interval() -> u32 {
    // SAFETY: the map has one element; user space replaces it as a whole.
    ALLOCATION_INTERVAL.get_ptr(0).map_or(0, |interval| unsafe { *interval })
}

/// Free buffers of a queue's areas; [`u32::MAX`] if they are not known here.
#[inline(always)]
fn free(ifq: u64) -> u32 {
    if !has(offset!(area_free)) {
        return u32::MAX;
    }
    if !has(offset!(ifq_areas)) {
        let area: u64 = read(ifq, offset!(ifq_area));
        return if area == 0 { u32::MAX } else { read(area, offset!(area_free)) };
    }
    let count: u32 = read(ifq, offset!(ifq_nr_areas));
    let areas: u64 = read(ifq, offset!(ifq_areas));
    if areas == 0 || count > MOST_AREAS {
        return u32::MAX;
    }
    let mut free = 0_u32;
    for index in 0..MOST_AREAS {
        if index < count {
            let area: u64 = read(areas + u64::from(index) * 8, 0);
            free = free.wrapping_add(read(area, offset!(area_free)));
        }
    }
    free
}

#[inline(always)]
fn left(pool: u64, result: u64) {
    let ifq = queue_of(pool);
    let Some(state) = ALLOCATIONS.get_ptr_mut(ifq) else { return };
    // SAFETY: as in `entered`.
    let state = unsafe { &mut *state };
    if state.inside == 0 {
        // The entry was not seen: the kernel leaves a program out that interrupts itself, as it may on a real-time kernel.
        loss::count(ALLOCATION_CALL);
        return;
    }
    state.inside = 0;
    state.calls += 1;
    let head: u32 = read(ifq, offset!(ifq_cached_head));
    let consumed = u64::from(head.wrapping_sub(state.head));
    state.consumed += consumed;
    spread(&raw mut state.consumed_by_call, consumed);
    // SAFETY: the clock helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    if result == 0 {
        state.failures += 1;
        spread(&raw mut state.yielded_by_call, 0);
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
    spread(&raw mut state.yielded_by_call, u64::from(buffers));
    let held: u32 = read(pool, offset!(page_pool_held));
    let from_freelist = held.wrapping_sub(state.held);
    state.from_freelist += u64::from(from_freelist);
    state.last_success_ns = now;
    if state.starving_since_ns != 0 {
        starved(state, now - state.starving_since_ns);
        state.starving_since_ns = 0;
    }
    residence::returned(pool, ifq, result, buffers, from_freelist, now);
}

/// Counts a value of a call by its bucket.
#[inline(always)]
fn spread(counts: *mut [u64; BATCH_BUCKETS], value: u64) {
    // Hidden from the compiler, which would leave out the comparison that the verifier needs.
    let place = black_box(bucket(value, BATCH_BUCKETS));
    if place < BATCH_BUCKETS {
        // SAFETY: within the array, which is a field of a map value.
        add(unsafe { counts.cast::<u64>().add(place) }, 1);
    }
}

/// Counts a starvation that is over.
#[inline(always)]
fn starved(state: &mut State, ns: u64) {
    state.starved_ns += ns;
    state.interval_starvation_ns = state.interval_starvation_ns.max(ns);
    let place = black_box(bucket(ns / 1000, STARVATION_BUCKETS));
    if place < STARVATION_BUCKETS {
        // SAFETY: within the array, which is a field of a map value.
        add(unsafe { (&raw mut state.starvation_lengths).cast::<u64>().add(place) }, 1);
    }
}
