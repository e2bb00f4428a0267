//! Memory in whole pages, anonymous or of a memory file: areas, refill rings, posted buffers.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use rustix::fs::{MemfdFlags, fstat, ftruncate, memfd_create};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// Size of a page on this kernel, bytes.
pub fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Size of the huge pages that hold buffers larger than a page, bytes: 2 MiB on a kernel with pages of 4 KiB, 32 MiB with pages
/// of 16 KiB, 512 MiB with pages of 64 KiB. Reserved huge pages have this size by default, and transparent ones have it.
pub fn huge_bytes() -> usize {
    // One page full of page table entries maps as many pages.
    page_bytes() * (page_bytes() / size_of::<u64>())
}

/// `bytes` rounded up to whole pages; `None` if that overflows.
pub fn whole_pages(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(page_bytes())
}

/// A mapping, private and anonymous or of a memory file: zeroed at first, present in memory, unmapped on drop.
///
/// It provides only addresses. Its user defines which code shares the memory, and by which protocol.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    /// The memory file that is mapped; `None` for anonymous memory.
    file: Option<OwnedFd>,
}

// SAFETY: the mapping does not depend on a thread; its user is responsible for accesses through its address.
unsafe impl Send for Mapping {}
// SAFETY: as above; the methods only read the two fields.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes`, rounded up to whole pages. For a huge page and more, asks the kernel for huge pages: the CPU then translates
    /// addresses faster. It is no error if there are none.
    ///
    /// Errors: ENOMEM; EINVAL for zero bytes or an overflow.
    pub fn new(bytes: usize) -> io::Result<Self> {
        let bytes = whole_pages(bytes).filter(|bytes| *bytes > 0).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let start = unsafe {
            mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Self { start, bytes, file: None };
        mapping.populate(bytes >= huge_bytes())?;
        Ok(mapping)
    }

    /// Maps `bytes` of a new memory file, rounded up to whole pages. Another process can map the same memory by [`Self::of_file`].
    ///
    /// Errors as [`Self::new`], and those of `memfd_create(2)`.
    pub fn shared(bytes: usize) -> io::Result<Self> {
        let bytes = whole_pages(bytes).filter(|bytes| *bytes > 0).ok_or(io::ErrorKind::InvalidInput)?;
        let file = memfd_create("zcrx", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, bytes as u64)?;
        Self::of_file(file, bytes)
    }

    /// Maps the first `bytes` of a memory file, rounded up to whole pages.
    ///
    /// Errors as [`Self::new`]; EINVAL for a file that is shorter, since an access behind its end would end the process. No holder of
    /// the file may shorten it.
    pub fn of_file(file: OwnedFd, bytes: usize) -> io::Result<Self> {
        let bytes = whole_pages(bytes).filter(|bytes| *bytes > 0).ok_or(io::ErrorKind::InvalidInput)?;
        if fstat(&file)?.st_size < i64::try_from(bytes).unwrap_or(i64::MAX) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let start = unsafe {
            mmap(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Self { start, bytes, file: Some(file) };
        mapping.populate(bytes >= huge_bytes())?;
        Ok(mapping)
    }

    /// The memory file that is mapped; `None` for anonymous memory.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Makes every page present, so that the first packet does not wait for page faults.
    fn populate(&self, by_huge_pages: bool) -> io::Result<()> {
        let start = self.start.as_ptr().cast();
        // SAFETY: neither advice changes the content of the mapping.
        unsafe {
            if by_huge_pages {
                // A kernel without transparent huge pages refuses this.
                let _without = madvise(start, self.bytes, Advice::LinuxHugepage);
            }
            madvise(start, self.bytes, Advice::LinuxPopulateWrite)?;
        }
        Ok(())
    }

    /// Maps `bytes`, rounded up to whole huge pages, so that each huge page is contiguous in physical memory. Uses the host's
    /// reserved huge pages if there are enough, else transparent huge pages, which the kernel provides if it can.
    ///
    /// Errors as [`Self::new`]. The kernel does not report whether it provided transparent huge pages.
    pub fn huge(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.checked_next_multiple_of(huge_bytes()).filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or(io::ErrorKind::InvalidInput)?;
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE | MapFlags::HUGETLB;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let reserved =
            unsafe { mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags) };
        match reserved {
            Ok(start) => {
                let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
                Ok(Self { start, bytes, file: None })
            }
            Err(_) => Self::transparent_huge(bytes),
        }
    }

    /// `bytes` is a multiple of [`huge_bytes`].
    fn transparent_huge(bytes: usize) -> io::Result<Self> {
        let huge = huge_bytes();
        let room = bytes.checked_add(huge).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: no address is asked for, so nothing that exists is replaced.
        let whole = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                room,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let before = whole.cast::<u8>().align_offset(huge);
        // SAFETY: this unmaps less than one huge page before `start` and the rest of it behind the area, both in the mapping
        // just made, to which no other code has a pointer.
        let start = unsafe {
            let start = whole.cast::<u8>().add(before);
            if before > 0 {
                munmap(whole, before)?;
            }
            if before < huge {
                munmap(start.add(bytes).cast(), huge - before)?;
            }
            start
        };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Self { start, bytes, file: None };
        // A kernel without transparent huge pages then refuses buffers larger than a page.
        mapping.populate(true)?;
        Ok(mapping)
    }

    /// First byte.
    pub const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Length, bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Address of the first byte, as the kernel's structures hold it.
    pub fn address(&self) -> u64 {
        self.start.as_ptr().expose_provenance() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, unmapped nowhere else; `drop` has the value, so no borrow of it remains.
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
    fn huge_mappings_are_aligned_and_can_be_written_to_the_end() {
        for map in [Mapping::huge, Mapping::transparent_huge] {
            let huge = huge_bytes();
            let mapping = map(3 * huge).expect("three huge pages can be mapped");
            assert_eq!((mapping.bytes(), mapping.address() as usize % huge), (3 * huge, 0));
            // SAFETY: the last byte of an own mapping.
            unsafe { mapping.start().add(mapping.bytes() - 1).write(1) };
        }
        assert_eq!(Mapping::huge(1).expect("one huge page can be mapped").bytes(), huge_bytes());
        assert!(Mapping::huge(0).is_err() && Mapping::huge(usize::MAX).is_err());
    }

    #[test]
    fn two_mappings_of_a_file_are_the_same_memory() -> io::Result<()> {
        let first = Mapping::shared(page_bytes())?;
        let file = first.file().ok_or(io::ErrorKind::NotFound)?.try_clone_to_owned()?;
        let longer = first.file().ok_or(io::ErrorKind::NotFound)?.try_clone_to_owned()?;
        let second = Mapping::of_file(file, page_bytes())?;
        // SAFETY: both mappings have a page, and no other code uses them.
        let read = unsafe {
            first.start().add(17).write(3);
            second.start().add(17).read()
        };
        assert_eq!(read, 3);
        assert!(Mapping::of_file(longer, 2 * page_bytes()).is_err(), "the file is shorter");
        Ok(())
    }

    #[test]
    fn no_bytes_and_too_many_bytes_are_refused() {
        assert!(Mapping::new(0).is_err());
        assert!(Mapping::new(usize::MAX).is_err());
    }
}
