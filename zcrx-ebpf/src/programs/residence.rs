//! How long sampled buffers are held: a stamp at delivery, found again when the page pool gets the buffer back.
//!
//! A hash of its address decides whether a buffer is sampled, so that both sides agree without asking a map: always the
//! same buffers of an area are sampled. A buffer is delivered once for each completion, and there its owner pays: for one
//! that is not sampled by the way into the program and a multiplication.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_get_func_arg, bpf_probe_read_kernel},
    },
    macros::{fentry, kprobe, map},
    maps::{HashMap, PerCpuArray},
    programs::{FEntryContext, ProbeContext},
};
use zcrx_common::{
    loss::RESIDENCE_STAMP,
    residence::{BUFFERS, QUEUES, Residence, Stamp, bucket, hash},
};

use crate::{
    event::add,
    kernel::{offset, read},
    loss,
    memory::ON_DEMAND,
};

/// Buffers with a hash below this are sampled. Written by user space and frozen, like the offsets.
#[unsafe(no_mangle)]
static RESIDENCE_LIMIT: u64 = 0;

/// Buffers that one call puts into the page pool's cache at most (`PP_ALLOC_CACHE_REFILL`).
const MOST_AT_ONCE: usize = 64;

/// Marks a reference to a buffer of a provider among references to memory (`NET_IOV`).
const NET_IOV: u64 = 1;

#[map]
static RESIDENCES: HashMap<u64, Residence> = HashMap::with_max_entries(QUEUES, ON_DEMAND);

/// Sampled buffers that are out. Not an LRU map: that would forget those that are out for longest. User space asks for the
/// smallest there can be where nothing is sampled.
#[map]
static RESIDENTS: HashMap<u64, Stamp> = HashMap::with_max_entries(BUFFERS, ON_DEMAND);

/// What a call of a page pool's provider yielded: too long for the stack.
///
/// The numbers are here for the verifier's sake. Of a number in a register it learns from each comparison, and follows every
/// place of the cache once for each thing that it may have learned; of a map's value it learns nothing.
#[repr(C)]
struct Yielded {
    cache: [u64; MOST_AT_ONCE],
    /// Buffers in the cache.
    waiting: u64,
    /// Buffers that came through the refill ring.
    by_ring: u64,
}

#[map]
static YIELDED: PerCpuArray<Yielded> = PerCpuArray::with_max_entries(1, 0);

#[fentry]
fn residence_fentry(ctx: FEntryContext) -> i32 {
    dispensed(argument(&ctx, 1), argument(&ctx, 2));
    0
}

/// An argument as a number. As the context has it, it is a pointer, which the verifier does not let multiply.
#[inline(always)]
fn argument(ctx: &FEntryContext, place: u32) -> u64 {
    let mut value = 0;
    // SAFETY: the destination is a number of ours, which stays zero if there is no such argument.
    unsafe { bpf_get_func_arg(ctx.as_ptr(), place, &raw mut value) };
    value
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
    // SAFETY: the clock helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let Some(residence) = of(ifq, now) else {
        loss::count(RESIDENCE_STAMP);
        return;
    };
    let stamp = Stamp { ifq, since_ns: now };
    // SAFETY: values of preallocated maps, of which only addresses of fields are taken. No other code touches the stamp of a
    // buffer that is just being delivered.
    unsafe {
        if let Some(place) = RESIDENTS.get_ptr_mut(niov) {
            if (*place).ifq == ifq && (*place).since_ns >= (*residence).since_ns {
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
fn of(ifq: u64, now: u64) -> Option<*mut Residence> {
    if let Some(residence) = RESIDENCES.get_ptr_mut(ifq) {
        return Some(residence);
    }
    // Another CPU may have made the entry meanwhile: it serves as well.
    let fresh = Residence { since_ns: now, ..Residence::default() };
    let _ = RESIDENCES.insert(ifq, fresh, u64::from(BPF_NOEXIST));
    RESIDENCES.get_ptr_mut(ifq)
}

/// Looks at the buffers that a call of the provider has yielded. Those that came back through the refill ring are in the cache
/// before those of the freelist, and the one that was handed out, `result`, was last of all.
///
/// An ordinary loop: a program with callbacks cannot be attached by kprobe_multi, since aya passes the kernel no type information of functions.
#[inline(always)]
pub(crate) fn returned(pool: u64, ifq: u64, result: u64, buffers: u32, from_freelist: u32, now: u64) {
    if sampling_limit() == 0 || buffers == 0 {
        return;
    }
    let Some(yielded) = YIELDED.get_ptr_mut(0) else { return };
    let cached = pool + u64::from(offset!(page_pool_cached));
    // SAFETY: the destinations lie in this CPU's value of a map. The result of the helper is not looked at: it clears the
    // destination when it fails.
    unsafe {
        let cache = (&raw mut (*yielded).cache).cast::<c_void>();
        bpf_probe_read_kernel(cache, (MOST_AT_ONCE * 8) as u32, cached as *const c_void);
        (&raw mut (*yielded).waiting).write_volatile(u64::from(buffers - 1));
        (&raw mut (*yielded).by_ring).write_volatile(u64::from(buffers.saturating_sub(from_freelist)));
    }
    for place in 0..MOST_AT_ONCE {
        // SAFETY: fields and elements of a value of a map; the place is within the array.
        let (waiting, by_ring, netmem) = unsafe {
            (
                (&raw const (*yielded).waiting).read_volatile(),
                (&raw const (*yielded).by_ring).read_volatile(),
                (&raw const (*yielded).cache).cast::<u64>().add(place).read(),
            )
        };
        if place as u64 >= waiting {
            break;
        }
        if hash(netmem & !NET_IOV) < sampling_limit() {
            taken_back(netmem & !NET_IOV, ifq, (place as u64) < by_ring, now);
        }
    }
    if hash(result & !NET_IOV) < sampling_limit() {
        taken_back(result & !NET_IOV, ifq, from_freelist == 0, now);
    }
}

/// A sampled buffer is in the page pool. A function of its own, so that the verifier does not follow all its ways from each place.
#[inline(never)]
fn taken_back(niov: u64, ifq: u64, by_ring: bool, now: u64) {
    let Some(place) = RESIDENTS.get_ptr(niov) else { return };
    // SAFETY: a value of a preallocated map; a buffer in the page pool's cache is not being delivered.
    let stamp = unsafe { *place };
    let _ = RESIDENTS.remove(niov);
    let Some(residence) = RESIDENCES.get_ptr_mut(ifq) else { return };
    // SAFETY: a value of a preallocated map, of which only addresses of fields are taken; the bucket is within the array.
    unsafe {
        if stamp.ifq != ifq || stamp.since_ns < (*residence).since_ns {
            // Of a queue that is gone.
            return;
        }
        if by_ring {
            let out = now.saturating_sub(stamp.since_ns);
            add(&raw mut (*residence).sum_ns, out);
            add((&raw mut (*residence).returns).cast::<u64>().add(bucket(out)), 1);
        } else {
            add(&raw mut (*residence).unseen, 1);
        }
    }
}

/// Forgets a queue that is gone. What is left of its stamps means nothing from then on, and user space removes it.
#[inline(always)]
pub(crate) fn forget(ifq: u64) {
    if sampling_limit() != 0 {
        let _ = RESIDENCES.remove(ifq);
    }
}
