//! Page pools: buffers taken in and given up, counted per pool in the kernel.
//!
//! The tracepoints fire when a pool gets a buffer from (or gives one back to) its allocator or its provider,
//! not when it recycles one. Ordinary NICs under memory pressure can do so often: pools without a memory provider are left
//! after one load. For the others the path is one field read, one hash look-up, one increment. No event, no allocation.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::{btf_tracepoint, map, raw_tracepoint},
    maps::{HashMap, PerCpuHashMap},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use zcrx_common::{
    loss::PAGE_POOL_EVENT,
    page_pool::{Count, HAS_ID, HAS_IFINDEX, HAS_PROVIDER, Identity, Key, POOLS},
};

use crate::{
    kernel::{has, load, offset, read},
    loss,
    memory::ON_DEMAND,
};

#[map]
static PAGE_POOLS: PerCpuHashMap<Key, Count> = PerCpuHashMap::with_max_entries(POOLS, ON_DEMAND);

#[map]
static PAGE_POOL_IDENTITIES: HashMap<Key, Identity> = HashMap::with_max_entries(POOLS, ON_DEMAND);

#[btf_tracepoint(function = "page_pool_state_hold")]
fn page_pool_hold_tp_btf(ctx: BtfTracePointContext) -> i32 {
    let pool = ctx.arg::<*const u8>(0);
    if provided_by_type(pool) {
        held(pool as u64);
    }
    0
}

#[btf_tracepoint(function = "page_pool_state_release")]
fn page_pool_release_tp_btf(ctx: BtfTracePointContext) -> i32 {
    let pool = ctx.arg::<*const u8>(0);
    if provided_by_type(pool) {
        released(pool as u64);
    }
    0
}

#[btf_tracepoint(function = "page_pool_release")]
fn page_pool_destroy_tp_btf(ctx: BtfTracePointContext) -> i32 {
    destroying(ctx.arg::<*const u8>(0) as u64, ctx.arg::<i32>(1));
    0
}

#[raw_tracepoint(tracepoint = "page_pool_state_hold")]
fn page_pool_hold_raw(ctx: RawTracePointContext) -> i32 {
    let pool = ctx.arg::<*const u8>(0) as u64;
    if provided(pool) {
        held(pool);
    }
    0
}

#[raw_tracepoint(tracepoint = "page_pool_state_release")]
fn page_pool_release_raw(ctx: RawTracePointContext) -> i32 {
    let pool = ctx.arg::<*const u8>(0) as u64;
    if provided(pool) {
        released(pool);
    }
    0
}

#[raw_tracepoint(tracepoint = "page_pool_release")]
fn page_pool_destroy_raw(ctx: RawTracePointContext) -> i32 {
    destroying(ctx.arg::<*const u8>(0) as u64, ctx.arg::<i32>(1));
    0
}

/// Whether a memory provider feeds the pool; true where this kernel's types do not describe it.
#[inline(always)]
fn provided(pool: u64) -> bool {
    !has(offset!(page_pool_provider)) || read::<u64>(pool, offset!(page_pool_provider)) != 0
}

/// The same for a pointer whose type the verifier knows.
#[inline(always)]
fn provided_by_type(pool: *const u8) -> bool {
    let offset = offset!(page_pool_provider);
    // SAFETY: the tracepoint passes a `struct page_pool`, and the offset is that of a pointer in it.
    !has(offset) || unsafe { load(pool, offset) } != 0
}

#[inline(always)]
fn held(pool: u64) {
    if let Some(count) = count(pool) {
        // SAFETY: this CPU's own value in a preallocated map; the kernel does not let a program interrupt
        // itself on one CPU, and the other program writes the other field.
        unsafe { (*count).held += 1 };
    }
}

#[inline(always)]
fn released(pool: u64) {
    if let Some(count) = count(pool) {
        // SAFETY: as in `held`.
        unsafe { (*count).released += 1 };
    }
}

/// The kernel tries to free the pool, and repeats that until all buffers have returned: then no further event can come.
#[inline(always)]
fn destroying(pool: u64, inflight: i32) {
    if inflight == 0 {
        let key = key(pool);
        let _ = PAGE_POOLS.remove(key);
        let _ = PAGE_POOL_IDENTITIES.remove(key);
    }
}

#[inline(always)]
fn key(pool: u64) -> Key {
    Key { pool, id: read(pool, offset!(page_pool_id)), reserved: 0 }
}

#[inline(always)]
fn count(pool: u64) -> Option<*mut Count> {
    let key = key(pool);
    if let Some(count) = PAGE_POOLS.get_ptr_mut(key) {
        return Some(count);
    }
    let _ = PAGE_POOL_IDENTITIES.insert(key, identity(pool), u64::from(BPF_NOEXIST));
    // Another CPU may insert at the same time: its entry serves as well.
    let _ = PAGE_POOLS.insert(key, Count::default(), u64::from(BPF_NOEXIST));
    let count = PAGE_POOLS.get_ptr_mut(key);
    if count.is_none() {
        loss::count(PAGE_POOL_EVENT);
    }
    count
}

#[inline(always)]
fn identity(pool: u64) -> Identity {
    let mut known = 0;
    if has(offset!(page_pool_id)) {
        known |= HAS_ID;
    }
    if has(offset!(page_pool_provider)) {
        known |= HAS_PROVIDER;
    }
    let netdev: u64 = read(pool, offset!(page_pool_netdev));
    if netdev != 0 && has(offset!(netdev_ifindex)) {
        known |= HAS_IFINDEX;
    }
    let provider: u64 = read(pool, offset!(page_pool_provider));
    Identity {
        ifindex: read(netdev, offset!(netdev_ifindex)),
        provider: u32::from(provider != 0),
        known,
        interface: read(netdev, offset!(netdev_name)),
    }
}
