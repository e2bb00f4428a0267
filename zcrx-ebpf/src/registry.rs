//! Rings that have queues, kept by the programs themselves: a registration or an import adds one, its teardown removes it.
//!
//! A ring is in the registry only while its address is valid: it leaves before the kernel frees it. So if a program has read a
//! ring and still finds it here, the data is the ring's. A snapshot need not walk the open files of all processes.

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_ktime_get_ns, macros::map, maps::HashMap};
use zcrx_common::{
    loss::REGISTRY_RING,
    snapshot::{RINGS, RegisteredRing},
};

use crate::{loss, memory::ON_DEMAND};

#[map]
pub(crate) static REGISTERED_RINGS: HashMap<u64, RegisteredRing> =
    HashMap::with_max_entries(RINGS, ON_DEMAND);

/// Adds a ring, unless it is there already.
#[inline(always)]
pub(crate) fn add(ring: u64) {
    if REGISTERED_RINGS.get_ptr(ring).is_some() {
        return;
    }
    // SAFETY: the clock helper has no preconditions.
    let entry = RegisteredRing { since_ns: unsafe { bpf_ktime_get_ns() } };
    if REGISTERED_RINGS.insert(ring, entry, u64::from(BPF_NOEXIST)).is_err()
        && REGISTERED_RINGS.get_ptr(ring).is_none()
    {
        loss::count(REGISTRY_RING);
    }
}

/// When a ring entered the registry, by `bpf_ktime_get_ns`; 0 for one that is not there.
#[inline(always)]
pub(crate) fn since(ring: u64) -> u64 {
    // SAFETY: the entry is copied at once, and never changes.
    unsafe { REGISTERED_RINGS.get(ring) }.map_or(0, |entry| entry.since_ns)
}

/// Whether a ring is there.
#[inline(always)]
pub(crate) fn has(ring: u64) -> bool {
    REGISTERED_RINGS.get_ptr(ring).is_some()
}

/// Removes a ring that is being torn down.
#[inline(always)]
pub(crate) fn forget(ring: u64) {
    let _ = REGISTERED_RINGS.remove(ring);
}
