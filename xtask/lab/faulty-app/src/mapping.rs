//! Anonymous memory for areas and refill rings.

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// Huge pages of x86-64 and most arm64 kernels.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// A private anonymous mapping, zeroed, unmapped on drop.
pub(crate) struct Mapping {
    mapped: NonNull<u8>,
    mapped_bytes: usize,
    start: NonNull<u8>,
}

impl Mapping {
    /// Maps `bytes` and touches them.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        Self::aligned(bytes, rustix::param::page_size(), None)
    }

    /// Maps `bytes` so that the kernel can back them with huge pages: a buffer larger than a page has to be
    /// physically contiguous.
    pub(crate) fn huge(bytes: usize) -> io::Result<Self> {
        Self::aligned(bytes.next_multiple_of(HUGE_PAGE_BYTES), HUGE_PAGE_BYTES, Some(Advice::LinuxHugepage))
    }

    fn aligned(bytes: usize, alignment: usize, advice: Option<Advice>) -> io::Result<Self> {
        let mapped_bytes = bytes.checked_add(alignment).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let mapped = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                mapped_bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let mapped = NonNull::new(mapped.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: at most `alignment - 1` bytes further on, of the `bytes + alignment` mapped.
        let start = unsafe { mapped.add(mapped.align_offset(alignment)) };
        let mapping = Self { mapped, mapped_bytes, start };
        if let Some(advice) = advice {
            // SAFETY: `start` and `bytes` are within the mapping; this advice changes no content.
            unsafe { madvise(start.as_ptr().cast(), bytes, advice) }?;
        }
        // SAFETY: within the mapping, which no other code knows yet.
        unsafe { ptr::write_bytes(start.as_ptr(), 0, bytes) };
        Ok(mapping)
    }

    /// Takes the right to write away, as a badly prepared area would lack it.
    pub(crate) fn make_read_only(&self) -> io::Result<()> {
        // SAFETY: the whole mapping is this object's own, and its user asked for a mapping without writers.
        Ok(unsafe { mprotect(self.mapped.as_ptr().cast(), self.mapped_bytes, MprotectFlags::READ) }?)
    }

    /// First usable byte.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Its address, as the kernel wants it.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `aligned` with this length, unmapped nowhere else. Pages that the kernel still uses as
        // an area are pinned by it and outlive the mapping.
        let result = unsafe { munmap(self.mapped.as_ptr().cast(), self.mapped_bytes) };
        debug_assert!(result.is_ok(), "munmap of an own mapping: {result:?}");
    }
}
