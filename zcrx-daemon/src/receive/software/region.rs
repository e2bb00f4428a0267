//! Checks of the refill ring's region, as the kernel's `io_create_region` makes them.

use rustix::io::Errno;

use crate::receive::mapping::page_bytes;
use zcrx_uapi::RegionDesc;
use zcrx_uapi::zcrx::IORING_MEM_REGION_TYPE_USER;

/// Checks in the kernel's order, with the kernel's errnos.
pub(super) fn check(region: &RegionDesc) -> Result<(), Errno> {
    let page = page_bytes() as u64;
    if region.__resv != [0; 4] || region.flags & !IORING_MEM_REGION_TYPE_USER != 0 {
        return Err(Errno::INVAL);
    }
    // An address is given if, and only if, user space brings the memory.
    if (region.flags & IORING_MEM_REGION_TYPE_USER != 0) != (region.user_addr != 0) {
        return Err(Errno::FAULT);
    }
    if region.size == 0 || region.mmap_offset != 0 || region.id != 0 {
        return Err(Errno::INVAL);
    }
    if region.size / page > i32::MAX as u64 {
        return Err(Errno::TOOBIG);
    }
    if !region.user_addr.is_multiple_of(page) || !region.size.is_multiple_of(page) {
        return Err(Errno::INVAL);
    }
    region.user_addr.checked_add(region.size).map(drop).ok_or(Errno::OVERFLOW)
}
