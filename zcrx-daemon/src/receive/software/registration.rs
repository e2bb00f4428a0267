//! Registration, check by check as in the seed of the kernel's zcrx.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::io::Errno;

use super::{Allocator, region};
use crate::receive::mapping::{Mapping, page_bytes};
use crate::receive::refill::{Consumer, MappedRing};
use zcrx_uapi::zcrx::{
    IO_RQ_MAX_ENTRIES, IORING_MEM_REGION_TYPE_USER, IORING_SETUP_CLAMP, IORING_SETUP_CQE32,
    IORING_SETUP_DEFER_TASKRUN,
};
use zcrx_uapi::{RegionDesc, ZcrxAreaReg, ZcrxIfqReg, ZcrxOffsets, ZcrxRqe};

/// `struct io_uring`: head and tail, 4 bytes each; the entries follow at once.
const RING_HEADER_BYTES: u32 = 8;

/// The one area of a queue. More than one: Linux 7.3.
const AREA_ID: u16 = 0;

/// What a registration sees of the ring it is made on: the part of `struct io_ring_ctx` that matters.
#[derive(Debug)]
pub struct RingContext {
    /// The answer to `capable(CAP_NET_ADMIN)`, the seed's first check.
    ///
    /// An input, not looked up: the check guards a hardware queue, through which other tasks' data can be seen. A
    /// software queue only sees sockets of its own process, so zcrxd grants itself the privilege and runs as an
    /// ordinary user; tests, and comparisons with the kernel, say what they want to try.
    pub privileged: bool,
    /// `IORING_SETUP_*` flags of the ring.
    pub setup_flags: u32,
    /// Whether the kernel was built with `CONFIG_IO_URING_ZCRX`.
    pub configured: bool,
    /// An allocation that fails, as on a host without memory.
    pub failing: Option<Allocation>,
    /// Size of a buffer, bytes, a power of two; 0 for the page size, which is all that the seed knew.
    pub buffer_bytes: u32,
    ifq: Option<SoftwareIfq>,
}

/// What a registration allocates, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// The queue itself.
    Queue,
    /// The pages of the region.
    Region,
    /// The area's bookkeeping.
    Area,
}

/// A pointer that user space passed.
#[derive(Debug)]
pub enum UserPointer<'a, T> {
    /// Zero.
    Null,
    /// Points to nothing that can be read.
    Unreadable,
    /// Can be read and not written.
    ReadOnly(&'a T),
    /// Can be read and written.
    Writable(&'a mut T),
}

impl<T: Copy> UserPointer<'_, T> {
    /// `copy_from_user`.
    fn read(&self) -> Result<T, Errno> {
        match self {
            Self::Null | Self::Unreadable => Err(Errno::FAULT),
            Self::ReadOnly(value) => Ok(**value),
            Self::Writable(value) => Ok(**value),
        }
    }

    /// `copy_to_user`.
    fn write(self, value: T) -> Result<(), Errno> {
        match self {
            Self::Writable(place) => *place = value,
            Self::Null | Self::Unreadable | Self::ReadOnly(_) => return Err(Errno::FAULT),
        }
        Ok(())
    }
}

impl<'a, T> From<Option<&'a mut T>> for UserPointer<'a, T> {
    fn from(pointer: Option<&'a mut T>) -> Self {
        pointer.map_or(Self::Unreadable, Self::Writable)
    }
}

/// A registered software interface queue.
#[derive(Debug)]
pub struct SoftwareIfq {
    /// Hardware queue index as given; it selects nothing here.
    pub if_rxq: u32,
    /// Refill ring entries.
    pub rq_entries: u32,
    /// Hands out the area's buffers.
    pub allocator: Allocator<MappedRing>,
    memory: MappedRing,
}

impl SoftwareIfq {
    /// The refill ring's memory, in place of mapping the ring's fd: for who did not bring it.
    pub const fn memory(&self) -> &MappedRing {
        &self.memory
    }
}

impl RingContext {
    /// A ring with these flags and no queue.
    pub const fn new(privileged: bool, setup_flags: u32) -> Self {
        Self { privileged, setup_flags, configured: true, failing: None, buffer_bytes: 0, ifq: None }
    }

    /// The same ring, whose queue has buffers of this size, bytes, a power of two.
    #[must_use]
    pub const fn with_buffer_bytes(mut self, buffer_bytes: u32) -> Self {
        self.buffer_bytes = buffer_bytes;
        self
    }

    /// The registered queue.
    pub fn ifq(&mut self) -> Option<&mut SoftwareIfq> {
        self.ifq.as_mut()
    }

    /// The registered queue, taken off the ring: `io_unregister_zcrx_ifqs`.
    pub fn unregister_ifq(&mut self) -> Option<SoftwareIfq> {
        self.ifq.take()
    }

    /// `io_register_zcrx_ifq` with pointers that can be read and written; `None` stands for one that can be neither.
    ///
    /// # Safety
    /// As [`Self::register`].
    pub unsafe fn register_ifq(
        &mut self,
        reg: Option<&mut ZcrxIfqReg>,
        region: Option<&mut RegionDesc>,
        area: Option<&mut ZcrxAreaReg>,
    ) -> Result<(), Errno> {
        // SAFETY: the caller promises the same.
        unsafe { self.register(reg.into(), 1, region.into(), area.into()) }
    }

    /// `io_uring_register(2)` with `IORING_REGISTER_ZCRX_IFQ`.
    ///
    /// The seed knew no area beyond its pointer; the checks of what it points to, last in the order, are those of
    /// the patch that followed it. Results are copied back after all checks: a pointer that cannot be written to fails
    /// there, and undoes the registration.
    ///
    /// # Safety
    /// If all checks pass and `region` says [`IORING_MEM_REGION_TYPE_USER`], its memory must stay mapped and writable as
    /// long as the queue lives, and must be accessed by atomics only. The area is not touched.
    pub unsafe fn register(
        &mut self,
        arg: UserPointer<'_, ZcrxIfqReg>,
        nr_args: u32,
        region: UserPointer<'_, RegionDesc>,
        area: UserPointer<'_, ZcrxAreaReg>,
    ) -> Result<(), Errno> {
        if matches!(arg, UserPointer::Null) || nr_args != 1 {
            return Err(Errno::INVAL);
        }
        if !self.configured {
            return Err(Errno::OPNOTSUPP);
        }
        if !self.privileged {
            return Err(Errno::PERM);
        }
        if self.setup_flags & IORING_SETUP_DEFER_TASKRUN == 0 || self.setup_flags & IORING_SETUP_CQE32 == 0 {
            return Err(Errno::INVAL);
        }
        if self.ifq.is_some() {
            return Err(Errno::BUSY);
        }
        let mut reg_copy = arg.read()?;
        let region_copy = region.read()?;
        let reg = &mut reg_copy;
        // What later kernels gave a meaning was reserved then.
        if reg.zcrx_id != 0 || reg.rx_buf_len != 0 || reg.event_desc != 0 || reg.__resv != [0; 2] {
            return Err(Errno::INVAL);
        }
        if reg.if_rxq == u32::MAX || reg.rq_entries == 0 || reg.flags != 0 {
            return Err(Errno::INVAL);
        }
        let mut rq_entries = reg.rq_entries;
        if rq_entries > IO_RQ_MAX_ENTRIES {
            if self.setup_flags & IORING_SETUP_CLAMP == 0 {
                return Err(Errno::INVAL);
            }
            rq_entries = IO_RQ_MAX_ENTRIES;
        }
        let rq_entries = rq_entries.next_power_of_two();
        let mut area_copy = area.read()?;
        if self.failing == Some(Allocation::Queue) {
            return Err(Errno::NOMEM);
        }

        let ring_bytes = u64::from(RING_HEADER_BYTES) + u64::from(rq_entries) * size_of::<ZcrxRqe>() as u64;
        if ring_bytes > region_copy.size {
            return Err(Errno::INVAL);
        }
        region::check(&region_copy)?;
        if self.failing == Some(Allocation::Region) {
            return Err(Errno::NOMEM);
        }
        let buffer_bytes = if self.buffer_bytes == 0 { page_bytes() } else { self.buffer_bytes as usize };
        let niovs = check_area(&area_copy, buffer_bytes as u64)?;

        let offsets = ZcrxOffsets { head: 0, tail: 4, rqes: RING_HEADER_BYTES, ..ZcrxOffsets::default() };
        // SAFETY: the caller promises for the memory what `create_memory` asks.
        let memory = unsafe { create_memory(&region_copy, &offsets, rq_entries) }?;
        if self.failing == Some(Allocation::Area) {
            return Err(Errno::NOMEM);
        }
        reg.rq_entries = rq_entries;
        reg.offsets = offsets;
        area_copy.rq_area_token = Allocator::<MappedRing>::token(AREA_ID);
        let if_rxq = reg.if_rxq;
        // The area first, as the kernel: it is created before the queue's own results are copied.
        area.write(area_copy)?;
        arg.write(reg_copy)?;
        region.write(region_copy)?;
        let allocator = Allocator::new(Consumer::new(memory.clone()), AREA_ID, niovs, buffer_bytes);
        self.ifq = Some(SoftwareIfq { if_rxq, rq_entries, allocator, memory });
        Ok(())
    }
}

/// `io_zcrx_create_area` as far as it needs no pages, in the kernel's order; says how many buffers there are.
fn check_area(area: &ZcrxAreaReg, buffer_bytes: u64) -> Result<u32, Errno> {
    let page = page_bytes() as u64;
    if area.flags != 0 || area.rq_area_token != 0 || area.__resv2 != [0; 2] {
        return Err(Errno::INVAL);
    }
    if area.len == 0 {
        return Err(Errno::FAULT);
    }
    area.addr.checked_add(area.len).ok_or(Errno::OVERFLOW)?;
    if !area.addr.is_multiple_of(page) || !area.len.is_multiple_of(page) || area.dmabuf_fd != 0 {
        return Err(Errno::INVAL);
    }
    // The kernel finds this out when it pins the pages.
    if area.addr == 0 {
        return Err(Errno::FAULT);
    }
    u32::try_from(area.len / buffer_bytes).map_err(|_| Errno::INVAL)
}

/// Lays a cleared ring into the region, which user space brought or which is mapped here.
///
/// # Safety
/// As [`RingContext::register_ifq`].
unsafe fn create_memory(
    region: &RegionDesc,
    offsets: &ZcrxOffsets,
    entries: u32,
) -> Result<MappedRing, Errno> {
    let bytes = usize::try_from(region.size).map_err(|_| Errno::NOMEM)?;
    if region.flags & IORING_MEM_REGION_TYPE_USER == 0 {
        let mapping = Mapping::new(bytes).map_err(|_| Errno::NOMEM)?;
        return MappedRing::new(Arc::new(mapping), offsets, entries).map_err(|_| Errno::INVAL);
    }
    let address = usize::try_from(region.user_addr).map_err(|_| Errno::FAULT)?;
    let start = NonNull::new(ptr::with_exposed_provenance_mut(address)).ok_or(Errno::FAULT)?;
    // SAFETY: the caller vouches for the memory; its start was found to be page-aligned.
    let ring = unsafe { MappedRing::at(start, bytes, offsets, entries) }.map_err(|_| Errno::INVAL)?;
    ring.clear();
    Ok(ring)
}
