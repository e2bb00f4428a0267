//! Anonymous memory in whole pages: areas, refill rings, posted buffers.

use std::io;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Size of a page, bytes, as this kernel says it.
pub(crate) fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// `bytes` rounded up to whole pages; `None` if that overflows.
pub(crate) fn whole_pages(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(page_bytes())
}

/// A private anonymous mapping, zeroed, present in memory, unmapped on drop.
///
/// It hands out addresses only. Who shares it with whom, and by which protocol, is its user's affair.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is memory without ties to a thread; access through its address is its user's affair.
unsafe impl Send for Mapping {}
// SAFETY: as above; the methods only read the two fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes`, rounded up to whole pages.
    ///
    /// Errors: ENOMEM; EINVAL for zero bytes or an overflow.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let bytes = whole_pages(bytes).filter(|bytes| *bytes > 0).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let start = unsafe {
            // Populated: the first packet should not wait for page faults.
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::POPULATE,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }

    /// First byte.
    pub(crate) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length, bytes.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first byte's address, as the kernel wants it.
    pub(crate) fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, unmapped nowhere else; nobody can hold a borrow of it any more.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(result.is_ok(), "munmap of an own mapping: {result:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_rounded_up_to_whole_pages() {
        let mapping = Mapping::new(1).expect("one page can be mapped");
        assert_eq!(mapping.bytes(), page_bytes());
        assert_eq!(mapping.address() as usize % page_bytes(), 0);
    }

    #[test]
    fn no_bytes_and_too_many_bytes_are_refused() {
        assert!(Mapping::new(0).is_err());
        assert!(Mapping::new(usize::MAX).is_err());
    }
}
