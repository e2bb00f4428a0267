//! How long sampled buffers are out: a stamp when one is dispensed, a look at what the page pool gets back.
//!
//! Whether a buffer is sampled is told by a hash of its address, so that both sides agree without asking a map: always the
//! same buffers of an area are sampled. A buffer is dispensed once for each completion, and there its owner pays: for one
//! that is not sampled by the way into the program and a multiplication.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_ktime_get_ns, bpf_loop,
        generated::{bpf_for_each_map_elem, bpf_probe_read_kernel},
    },
    macros::{fentry, kprobe, map},
    maps::{HashMap, PerCpuArray},
    programs::{FEntryContext, ProbeContext},
};
use zcrx_common::{
    loss::RESIDENCE_STAMP,
    residence::{BUCKETS, BUFFERS, QUEUES, Residence, Stamp, bucket, hash},
};

use crate::{
    event::add,
    kernel::{offset, read},
    loss,
};

/// Buffers with a hash below this are sampled. Written by user space and frozen, like the offsets.
#[unsafe(no_mangle)]
static RESIDENCE_LIMIT: u64 = 0;

/// Buffers that one call puts into the page pool's cache at most (`PP_ALLOC_CACHE_REFILL`).
const MOST_AT_ONCE: usize = 64;

/// Marks a reference to a buffer of a provider among references to memory (`NET_IOV`).
const NET_IOV: u64 = 1;

#[map]
static RESIDENCES: HashMap<u64, Residence> = HashMap::with_max_entries(QUEUES, 0);

/// Sampled buffers that are out. Not an LRU map: that would forget those that are out for longest. User space asks for the
/// smallest there can be where nothing is sampled.
#[map]
static RESIDENTS: HashMap<u64, Stamp> = HashMap::with_max_entries(BUFFERS, 0);

/// What was in a page pool's cache when a call of its provider ended: too long for the stack.
#[map]
static RETURNED: PerCpuArray<[u64; MOST_AT_ONCE]> = PerCpuArray::with_max_entries(1, 0);

/// What the map begins an entry with.
static FRESH: Residence =
    Residence { sampled: 0, overtaken: 0, lost: 0, unseen: 0, sum_ns: 0, returns: [0; BUCKETS] };

#[fentry]
fn residence_fentry(ctx: FEntryContext) -> i32 {
    dispensed(ctx.arg::<*const u8>(1) as u64, ctx.arg::<*const u8>(2) as u64);
    0
}

#[kprobe]
fn residence_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(niov), Some(ifq)) = (ctx.arg::<*const u8>(1), ctx.arg::<*const u8>(2)) {
        dispensed(niov as u64, ifq as u64);
    }
    0
}

#[inline(always)]
fn sampling_limit() -> u64 {
    // SAFETY: a read of an initialised static. Volatile, because what the compiler sees is not what the kernel will see.
    unsafe { core::ptr::read_volatile(&raw const RESIDENCE_LIMIT) }
}

/// A completion for a buffer is about to be posted.
#[inline(always)]
fn dispensed(niov: u64, ifq: u64) {
    if hash(niov) >= sampling_limit() {
        return;
    }
    // A buffer that the kernel copied into belongs to no page pool, and does not come back through one.
    if read::<u64>(niov, offset!(niov_pool)) == 0 || is_out(niov) {
        return;
    }
    let Some(residence) = of(ifq) else {
        loss::count(RESIDENCE_STAMP);
        return;
    };
    // SAFETY: the clock helper has no preconditions.
    let stamp = Stamp { ifq, since_ns: unsafe { bpf_ktime_get_ns() } };
    // SAFETY: values of preallocated maps, of which only addresses of fields are taken. Nobody else touches the stamp of a
    // buffer that is just being dispensed.
    unsafe {
        if let Some(place) = RESIDENTS.get_ptr_mut(niov) {
            if (*place).ifq == ifq {
                add(&raw mut (*residence).overtaken, 1);
            }
            *place = stamp;
        } else if RESIDENTS.insert(niov, stamp, u64::from(BPF_NOEXIST)).is_err() {
            add(&raw mut (*residence).lost, 1);
            loss::count(RESIDENCE_STAMP);
            return;
        }
        add(&raw mut (*residence).sampled, 1);
    }
}

/// Whether user space has the buffer already, of an earlier completion. The kernel counts its reference after it has posted the
/// completion.
#[inline(always)]
fn is_out(niov: u64) -> bool {
    let owner: u64 = read(niov, offset!(niov_owner));
    let niovs: u64 = read(owner, offset!(owner_niovs));
    let references: u64 = read(owner - u64::from(offset!(area_owner)), offset!(area_user_refs));
    let place = (niov - niovs).checked_div(u64::from(offset!(niov_size))).unwrap_or(0);
    read::<u32>(references + place * 4, 0) != 0
}

#[inline(always)]
fn of(ifq: u64) -> Option<*mut Residence> {
    if let Some(residence) = RESIDENCES.get_ptr_mut(ifq) {
        return Some(residence);
    }
    // Another CPU may have made the entry meanwhile: it serves as well.
    let _ = RESIDENCES.insert(ifq, FRESH, u64::from(BPF_NOEXIST));
    RESIDENCES.get_ptr_mut(ifq)
}

/// What a call of the provider put into the page pool.
#[repr(C)]
struct Yield {
    ifq: u64,
    /// The buffer that the call handed out; it was in the cache last.
    result: u64,
    now: u64,
    /// How many others are in the cache.
    waiting: u64,
    /// How many of all came back through the refill ring. Those of the freelist follow them.
    by_ring: u64,
}

/// Looks at the buffers that a call of the provider has yielded.
#[inline(always)]
pub(crate) fn returned(pool: u64, ifq: u64, result: u64, buffers: u32, from_freelist: u32, now: u64) {
    if sampling_limit() == 0 || buffers == 0 || buffers as usize > MOST_AT_ONCE {
        return;
    }
    let Some(cache) = RETURNED.get_ptr_mut(0) else { return };
    let cached = pool + u64::from(offset!(page_pool_cached));
    // SAFETY: the destination is this CPU's value of a map, as long as what is read. The result is not looked at: the helper
    // clears the destination when it fails.
    unsafe { bpf_probe_read_kernel(cache.cast(), (MOST_AT_ONCE * 8) as u32, cached as *const c_void) };
    let mut walk = Yield {
        ifq,
        result,
        now,
        waiting: u64::from(buffers - 1),
        by_ring: u64::from(buffers.saturating_sub(from_freelist)),
    };
    // SAFETY: the callback gets the context that it was written for, which outlives the loop.
    unsafe { bpf_loop(buffers, visit as *mut c_void, (&raw mut walk).cast(), 0) };
}

unsafe extern "C" fn visit(index: u64, context: *mut c_void) -> i64 {
    // SAFETY: `returned` passes this context.
    let walk = unsafe { &*context.cast::<Yield>() };
    let mut netmem = walk.result;
    if index < walk.waiting {
        let Some(cache) = RETURNED.get_ptr(0) else { return 1 };
        // SAFETY: the place is within the array, which is a value of a map.
        netmem = unsafe { *cache.cast::<u64>().add(index as usize & (MOST_AT_ONCE - 1)) };
    }
    let niov = netmem & !NET_IOV;
    if hash(niov) < sampling_limit() {
        taken_back(niov, walk.ifq, index < walk.by_ring, walk.now);
    }
    0
}

/// A sampled buffer is in the page pool.
#[inline(always)]
fn taken_back(niov: u64, ifq: u64, by_ring: bool, now: u64) {
    let Some(place) = RESIDENTS.get_ptr(niov) else { return };
    // SAFETY: a value of a preallocated map; a buffer in the page pool's cache is not being dispensed.
    let stamp = unsafe { *place };
    let _ = RESIDENTS.remove(niov);
    let Some(residence) = RESIDENCES.get_ptr_mut(ifq) else { return };
    if stamp.ifq != ifq {
        // Of a queue that is gone, whose end was not seen.
        return;
    }
    // SAFETY: a value of a preallocated map, of which only addresses of fields are taken; the bucket is within the array.
    unsafe {
        if by_ring {
            let out = now.saturating_sub(stamp.since_ns);
            add(&raw mut (*residence).sum_ns, out);
            add((&raw mut (*residence).returns).cast::<u64>().add(bucket(out)), 1);
        } else {
            add(&raw mut (*residence).unseen, 1);
        }
    }
}

/// Forgets a queue that is gone, and its buffers: their addresses will be used again.
#[inline(always)]
pub(crate) fn forget(mut ifq: u64) {
    if sampling_limit() == 0 {
        return;
    }
    let _ = RESIDENCES.remove(ifq);
    // SAFETY: the map is one, and the callback gets the context that it was written for, which outlives the loop.
    unsafe {
        bpf_for_each_map_elem(
            (&raw const RESIDENTS).cast_mut().cast(),
            forget_stamp as *mut c_void,
            (&raw mut ifq).cast(),
            0,
        );
    }
}

unsafe extern "C" fn forget_stamp(
    _map: *mut c_void,
    niov: *const u64,
    stamp: *const Stamp,
    context: *mut c_void,
) -> i64 {
    // SAFETY: the kernel passes a key and its value, and `forget` passes this context.
    unsafe {
        if (*stamp).ifq == *context.cast::<u64>() {
            let _ = RESIDENTS.remove(*niov);
        }
    }
    0
}
