//! Atomic operations on values of maps: several threads may work for one queue (Linux 6.19), and both may count at once.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

/// Adds to a count.
#[inline(always)]
pub(crate) fn add(count: *mut u64, more: u64) {
    // SAFETY: callers pass a field of a map value, which is aligned and stays a map value.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(count, more) };
}

/// Claims a free place for `code`. Returns whether the place belongs to `code` now.
#[inline(always)]
pub(crate) fn claim(place: *mut u64, code: u64) -> bool {
    // SAFETY: as in `add`.
    let (taken, won) = unsafe {
        atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(place, 0, code)
    };
    won || taken == code
}
