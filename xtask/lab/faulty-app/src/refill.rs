//! The refill ring, seen from the application: entries go in at the tail, the kernel takes them at the head.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use zcrx_uapi::{ZcrxOffsets, ZcrxRqe};

/// The producer's end of a registered refill ring.
pub(crate) struct RefillRing {
    head: NonNull<AtomicU32>,
    tail: NonNull<AtomicU32>,
    entries: NonNull<ZcrxRqe>,
    capacity: u32,
}

/// The refill ring has no room.
pub(crate) struct Full;

impl RefillRing {
    /// # Safety
    /// `region` must be the region of a successful registration that answered `offsets` and `capacity`, and outlive
    /// this ring; there must be no second producer.
    pub(crate) unsafe fn new(region: NonNull<u8>, offsets: &ZcrxOffsets, capacity: u32) -> Self {
        // SAFETY: the kernel placed all three within the region, with the alignment of their types.
        unsafe {
            Self {
                head: region.add(offsets.head as usize).cast(),
                tail: region.add(offsets.tail as usize).cast(),
                entries: region.add(offsets.rqes as usize).cast(),
                capacity,
            }
        }
    }

    /// The kernel's position.
    pub(crate) fn head(&self) -> u32 {
        // SAFETY: points into the live region (see `new`). Acquire: entries before it have been read.
        unsafe { self.head.as_ref() }.load(Ordering::Acquire)
    }

    /// The application's position.
    pub(crate) fn tail(&self) -> u32 {
        // SAFETY: points into the live region (see `new`); only this thread writes it.
        unsafe { self.tail.as_ref() }.load(Ordering::Relaxed)
    }

    /// Entries that the kernel has not taken yet.
    pub(crate) fn pending(&self) -> u32 {
        self.tail().wrapping_sub(self.head())
    }

    /// What these entries say, oldest first. The kernel may take them meanwhile.
    pub(crate) fn pending_entries(&self) -> impl Iterator<Item = ZcrxRqe> {
        let head = self.head();
        (0..self.pending()).map(move |nth| {
            let slot = head.wrapping_add(nth) & (self.capacity - 1);
            // SAFETY: the slot is within the ring (see `push`), and only `push` writes it.
            unsafe { self.entries.add(slot as usize).read() }
        })
    }

    /// Entries that fit.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Publishes one entry.
    pub(crate) fn push(&mut self, entry: ZcrxRqe) -> Result<(), Full> {
        self.batch().push(entry)
    }

    /// Begins a batch, which is published when it is dropped.
    pub(crate) fn batch(&mut self) -> Batch<'_> {
        let (head, tail) = (self.head(), self.tail());
        Batch { ring: self, head, tail }
    }
}

/// Entries that are published together.
pub(crate) struct Batch<'a> {
    ring: &'a mut RefillRing,
    head: u32,
    tail: u32,
}

impl Batch<'_> {
    /// Writes one entry.
    pub(crate) fn push(&mut self, entry: ZcrxRqe) -> Result<(), Full> {
        if self.tail.wrapping_sub(self.head) >= self.ring.capacity {
            return Err(Full);
        }
        // SAFETY: the capacity is a power of two, so the index is below it; the slot is the producer's, as head is past it.
        unsafe { self.ring.entries.add((self.tail & (self.ring.capacity - 1)) as usize).write(entry) };
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        // SAFETY: points into the live region. Release: the entries are written before the kernel sees the tail.
        unsafe { self.ring.tail.as_ref() }.store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::Mapping;

    const CAPACITY: u32 = 4;
    const OFFSETS: ZcrxOffsets = ZcrxOffsets { head: 0, tail: 64, rqes: 128, __resv2: 0, __resv: [0; 2] };

    /// The kernel's end: takes the oldest entry.
    fn take(region: &Mapping) -> Option<u64> {
        // SAFETY: the offsets of `OFFSETS` lie within the region, whose only other user is the ring on this thread.
        unsafe {
            let head = region.start().add(OFFSETS.head as usize).cast::<AtomicU32>().as_ref();
            let tail = region.start().add(OFFSETS.tail as usize).cast::<AtomicU32>().as_ref();
            let position = head.load(Ordering::Relaxed);
            if position == tail.load(Ordering::Acquire) {
                return None;
            }
            let entries = region.start().add(OFFSETS.rqes as usize).cast::<ZcrxRqe>();
            let entry = entries.add((position % CAPACITY) as usize).read();
            head.store(position.wrapping_add(1), Ordering::Release);
            Some(entry.off)
        }
    }

    fn entry(off: u64) -> ZcrxRqe {
        ZcrxRqe { off, ..ZcrxRqe::default() }
    }

    #[test]
    fn entries_come_out_in_order_and_a_full_ring_takes_none_across_the_wrap() {
        let region = Mapping::new(4096).expect("a page can be mapped");
        // SAFETY: the region is as `OFFSETS` says, and outlives the ring.
        let mut ring = unsafe { RefillRing::new(region.start(), &OFFSETS, CAPACITY) };
        // Positions run freely: begin just before they wrap.
        for offset in [OFFSETS.head, OFFSETS.tail] {
            // SAFETY: within the region; only this thread reads it.
            unsafe { region.start().add(offset as usize).cast::<u32>().write(u32::MAX - 1) };
        }
        for round in 0..3 {
            for i in 0..4 {
                assert!(ring.push(entry(round * 4 + i)).is_ok());
            }
            assert!(ring.push(entry(99)).is_err());
            assert_eq!(ring.pending(), CAPACITY);
            let pending: Vec<u64> = ring.pending_entries().map(|entry| entry.off).collect();
            assert_eq!(pending, [0, 1, 2, 3].map(|i| round * 4 + i));
            for i in 0..4 {
                assert_eq!(take(&region), Some(round * 4 + i));
            }
            assert_eq!((take(&region), ring.pending()), (None, 0));
        }
    }
}
