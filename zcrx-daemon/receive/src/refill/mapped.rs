//! The refill ring in memory that is shared with the kernel.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::RingMemory;
use crate::memory::Mapping;
use zcrx_uapi::{ZcrxOffsets, ZcrxRqe};

/// Offsets that do not describe a ring inside its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "refill ring of {entries} entries with head at {}, tail at {} and entries at {} does not fit a region of \
     {region_bytes} bytes",
    offsets.head, offsets.tail, offsets.rqes
)]
pub struct GeometryError {
    offsets: ZcrxOffsets,
    entries: u32,
    region_bytes: usize,
}

/// A [`ZcrxRqe`] in shared memory, accessed by relaxed atomics: plain moves on the machine, and never a data race.
#[repr(C)]
struct RqeCell {
    off: AtomicU64,
    len: AtomicU32,
    pad: AtomicU32,
}
const _: () = assert!(size_of::<RqeCell>() == size_of::<ZcrxRqe>());
const _: () = assert!(align_of::<RqeCell>() == align_of::<u64>());

/// A refill ring with the layout of [`ZcrxOffsets`]. A clone refers to the same ring.
#[derive(Clone, Debug)]
pub struct MappedRing {
    head: NonNull<AtomicU32>,
    tail: NonNull<AtomicU32>,
    rqes: NonNull<RqeCell>,
    entries: u32,
    /// Keeps the memory mapped; `None` where the creator of the ring guarantees that.
    _region: Option<Arc<Mapping>>,
}

// SAFETY: all access to the memory is by atomics, and the memory outlives the value.
unsafe impl Send for MappedRing {}
// SAFETY: as above.
unsafe impl Sync for MappedRing {}

impl MappedRing {
    /// Creates a ring in `region`.
    pub fn new(region: Arc<Mapping>, offsets: &ZcrxOffsets, entries: u32) -> Result<Self, GeometryError> {
        // SAFETY: the region is mapped, and the value keeps it so.
        let ring = unsafe { Self::at(region.start(), region.bytes(), offsets, entries) }?;
        Ok(Self { _region: Some(region), ..ring })
    }

    /// Creates a ring in the `region_bytes` at `start`.
    ///
    /// # Safety
    /// The memory must stay mapped and writable as long as the value and its clones live, `start` must be aligned
    /// to 8 bytes, and all other users of the memory must access it by atomics (the kernel does).
    pub unsafe fn at(
        start: NonNull<u8>,
        region_bytes: usize,
        offsets: &ZcrxOffsets,
        entries: u32,
    ) -> Result<Self, GeometryError> {
        let error = GeometryError { offsets: *offsets, entries, region_bytes };
        let part = |offset: u32, align: usize, bytes: usize| {
            let offset = offset as usize;
            let end = offset.checked_add(bytes);
            (offset.is_multiple_of(align) && end.is_some_and(|end| end <= region_bytes))
                .then_some(offset)
                .ok_or(error)
        };
        let rqes_bytes = (entries as usize).checked_mul(size_of::<RqeCell>()).ok_or(error)?;
        let head = part(offsets.head, align_of::<AtomicU32>(), size_of::<AtomicU32>())?;
        let tail = part(offsets.tail, align_of::<AtomicU32>(), size_of::<AtomicU32>())?;
        let rqes = part(offsets.rqes, align_of::<RqeCell>(), rqes_bytes)?;
        let rqes_end = rqes + rqes_bytes;
        let overlaps = |word: usize| word + size_of::<AtomicU32>() > rqes && word < rqes_end;
        if !entries.is_power_of_two() || head == tail || overlaps(head) || overlaps(tail) {
            return Err(error);
        }
        // SAFETY: the code above checked that each offset plus the size of its data is inside the memory.
        let (head, tail, rqes) =
            unsafe { (start.add(head).cast(), start.add(tail).cast(), start.add(rqes).cast()) };
        Ok(Self { head, tail, rqes, entries, _region: None })
    }

    /// Published entries that the kernel has not consumed yet. Any thread may call this at any time.
    #[inline]
    pub fn depth(&self) -> u32 {
        // Head first: the consumer never passes the tail, so the tail that is read later cannot be smaller.
        let head = self.head_acquire();
        self.tail_acquire().wrapping_sub(head).min(self.entries)
    }

    /// Sets head and tail to zero, as the kernel does with the region it is given.
    pub fn clear(&self) {
        self.head().store(0, Ordering::Relaxed);
        self.tail().store(0, Ordering::Release);
    }

    #[inline]
    fn head(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside the memory, which outlives `self`.
        unsafe { self.head.as_ref() }
    }

    #[inline]
    fn tail(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside the memory, which outlives `self`.
        unsafe { self.tail.as_ref() }
    }

    #[inline]
    fn cell(&self, at: u32) -> &RqeCell {
        let index = at & (self.entries - 1);
        // SAFETY: the index is below the number of entries, all of which are inside the memory.
        unsafe { self.rqes.add(index as usize).as_ref() }
    }
}

impl RingMemory for MappedRing {
    #[inline]
    fn entries(&self) -> u32 {
        self.entries
    }

    #[inline]
    fn load_head(&self, order: Ordering) -> u32 {
        self.head().load(order)
    }

    #[inline]
    fn store_head(&self, head: u32, order: Ordering) {
        self.head().store(head, order);
    }

    #[inline]
    fn load_tail(&self, order: Ordering) -> u32 {
        self.tail().load(order)
    }

    #[inline]
    fn store_tail(&self, tail: u32, order: Ordering) {
        self.tail().store(tail, order);
    }

    #[inline]
    fn read(&self, at: u32) -> ZcrxRqe {
        let cell = self.cell(at);
        ZcrxRqe {
            off: cell.off.load(Ordering::Relaxed),
            len: cell.len.load(Ordering::Relaxed),
            __pad: cell.pad.load(Ordering::Relaxed),
        }
    }

    #[inline]
    fn write(&self, at: u32, rqe: ZcrxRqe) {
        let cell = self.cell(at);
        cell.off.store(rqe.off, Ordering::Relaxed);
        cell.len.store(rqe.len, Ordering::Relaxed);
        cell.pad.store(rqe.__pad, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::page_bytes;

    fn ring(offsets: ZcrxOffsets, entries: u32) -> Result<MappedRing, GeometryError> {
        MappedRing::new(Arc::new(Mapping::new(1).expect("a page")), &offsets, entries)
    }

    fn offsets(head: u32, tail: u32, rqes: u32) -> ZcrxOffsets {
        ZcrxOffsets { head, tail, rqes, ..ZcrxOffsets::default() }
    }

    #[test]
    fn the_geometries_of_old_and_new_kernels_fit() {
        // The first version: head and tail side by side, entries right behind.
        assert!(ring(offsets(0, 4, 8), 64).is_ok());
        // Linux 7.3: each on a cache line of its own.
        assert!(ring(offsets(0, 64, 128), 64).is_ok());
    }

    #[test]
    fn a_ring_that_leaves_its_region_is_refused() {
        let too_many = (page_bytes() / 16) as u32;
        assert!(ring(offsets(0, 4, 8), too_many).is_err());
        assert!(ring(offsets(page_bytes() as u32, 4, 8), 64).is_err());
    }

    #[test]
    fn overlapping_or_unaligned_parts_are_refused() {
        for offsets in [offsets(0, 0, 8), offsets(0, 8, 8), offsets(2, 4, 8), offsets(0, 4, 12)] {
            assert!(ring(offsets, 64).is_err(), "{offsets:?}");
        }
        assert!(ring(offsets(0, 4, 8), 48).is_err(), "48 is no power of two");
    }

    #[test]
    fn what_is_written_at_a_position_is_read_there_after_wrapping_around() {
        let ring = ring(offsets(0, 4, 8), 4).expect("fits");
        let rqe = ZcrxRqe { off: 0x1_2000, len: 7, __pad: 0 };
        ring.write(u32::MAX, rqe);
        assert_eq!(ring.read(3), rqe);
    }
}
