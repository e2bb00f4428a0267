//! Counts what could not be recorded, so that user space can say so.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use zcrx_common::loss::SLOTS;

#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(SLOTS, 0);

/// Counts one record of the kind `slot` as lost.
#[inline(always)]
pub(crate) fn count(slot: u32) {
    if let Some(lost) = LOST.get_ptr_mut(slot) {
        // SAFETY: this CPU's own slot; each kind of loss is counted by programs that do not interrupt
        // themselves on one CPU.
        unsafe { *lost += 1 };
    }
}
