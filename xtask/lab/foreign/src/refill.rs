//! The refill ring, seen from the application: entries go in at the tail, the kernel takes them at the head.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use zcrx_daemon::uapi::{ZcrxOffsets, ZcrxRqe};

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
        // SAFETY: points into the live region (see `new`); nobody else writes it.
        unsafe { self.tail.as_ref() }.load(Ordering::Relaxed)
    }

    /// Entries that the kernel has not taken yet.
    pub(crate) fn pending(&self) -> u32 {
        self.tail().wrapping_sub(self.head())
    }

    /// Entries that fit.
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Publishes one entry.
    pub(crate) fn push(&mut self, entry: ZcrxRqe) -> Result<(), Full> {
        let tail = self.tail();
        if tail.wrapping_sub(self.head()) >= self.capacity {
            return Err(Full);
        }
        // SAFETY: the capacity is a power of two, so the index is below it; the slot is ours, as head is past it.
        unsafe { self.entries.add((tail & (self.capacity - 1)) as usize).write(entry) };
        // SAFETY: points into the live region. Release: the entry is written before the kernel sees the tail.
        unsafe { self.tail.as_ref() }.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }
}
