//! Calls of `io_uring_register`.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::zcrx::{IORING_REGISTER_ZCRX_CTRL, IORING_REGISTER_ZCRX_IFQ, ZCRX_REG_IMPORT};
use super::{RegionDesc, ZcrxAreaReg, ZcrxCtrl, ZcrxEventDesc, ZcrxIfqReg};

/// Calls `io_uring_register(2)`; `ring` is `None` for opcodes without a ring.
///
/// # Safety
/// `arg`, and everything that its structure points to, must be valid for `opcode`.
pub unsafe fn register(
    ring: Option<BorrowedFd<'_>>,
    opcode: u32,
    arg: *mut c_void,
    nr_args: u32,
) -> io::Result<i32> {
    let fd = ring.map_or(-1, |ring| ring.as_raw_fd());
    // SAFETY: the caller vouches for the argument; everything else is passed by value.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, opcode, arg, nr_args) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Registers an interface queue (Linux 6.15); fills in the pointers of `reg`, and the kernel the rest.
///
/// Errors: `registration::explain` explains each errno. The call must come from the ring's own thread.
///
/// # Safety
/// The kernel writes to the memory that `area` and (with `IORING_MEM_REGION_TYPE_USER`) `region` describe until the
/// ring and every importer of the queue are gone: it must stay mapped and be used for nothing else.
pub unsafe fn zcrx_ifq(
    ring: BorrowedFd<'_>,
    reg: &mut ZcrxIfqReg,
    area: &mut ZcrxAreaReg,
    region: &mut RegionDesc,
    events: Option<&mut ZcrxEventDesc>,
) -> io::Result<()> {
    reg.area_ptr = (&raw mut *area).expose_provenance() as u64;
    reg.region_ptr = (&raw mut *region).expose_provenance() as u64;
    reg.event_desc = events.map_or(0, |events| (&raw mut *events).expose_provenance() as u64);
    // SAFETY: the structures live to the end of the call and have the kernel's layout; the caller vouches for the
    // memory they describe.
    let result = unsafe { register(Some(ring), IORING_REGISTER_ZCRX_IFQ, (&raw mut *reg).cast(), 1) };
    // The structures may be freed before `reg` is read again.
    (reg.area_ptr, reg.region_ptr, reg.event_desc) = (0, 0, 0);
    result.map(drop)
}

/// Controls a registered queue (Linux 6.19).
///
/// Errors: ENXIO unknown queue id; EFAULT a reserved field is not zero; EOPNOTSUPP unknown operation; EINVAL from
/// arming an event that has not fired, or the opcode is unknown to this kernel.
///
/// # Safety
/// What [`ZcrxCtrl::add_area`] points to must be a live [`ZcrxAreaReg`] whose memory obeys the contract of
/// [`zcrx_ifq`]. The other operations have no requirement.
pub unsafe fn zcrx_ctrl(ring: BorrowedFd<'_>, ctrl: &mut ZcrxCtrl) -> io::Result<()> {
    // SAFETY: the structure lives to the end of the call and has the kernel's layout; the caller vouches for what
    // it points to.
    unsafe { register(Some(ring), IORING_REGISTER_ZCRX_CTRL, (&raw mut *ctrl).cast(), 0) }.map(drop)
}

/// Makes the kernel consume the refill ring now (Linux 6.19). Errors as [`zcrx_ctrl`].
pub fn zcrx_flush_rq(ring: BorrowedFd<'_>, zcrx_id: u32) -> io::Result<()> {
    // SAFETY: this operation points to nothing.
    unsafe { zcrx_ctrl(ring, &mut ZcrxCtrl::flush_rq(zcrx_id)) }
}

/// Arms an event that has fired (Linux 7.2). Errors as [`zcrx_ctrl`].
pub fn zcrx_arm_event(ring: BorrowedFd<'_>, zcrx_id: u32, event: u32) -> io::Result<()> {
    // SAFETY: this operation points to nothing.
    unsafe { zcrx_ctrl(ring, &mut ZcrxCtrl::arm_event(zcrx_id, event)) }
}

/// Adds an area to a registered queue (Linux 7.3); the kernel writes the token of its buffers into `area`.
///
/// Its buffers have the size of those of the first area. Errors as [`zcrx_ctrl`]; EINVAL for a wrong area or the
/// 1025th; EFAULT when the interface is gone; ENOMEM over the limit for locked memory.
///
/// # Safety
/// The memory that `area` describes obeys the contract of [`zcrx_ifq`].
pub unsafe fn zcrx_add_area(ring: BorrowedFd<'_>, zcrx_id: u32, area: &mut ZcrxAreaReg) -> io::Result<()> {
    let address = (&raw mut *area).expose_provenance() as u64;
    // SAFETY: the structure lives to the end of the call; the caller vouches for the memory it describes.
    unsafe { zcrx_ctrl(ring, &mut ZcrxCtrl::add_area(zcrx_id, address)) }
}

/// Returns a file descriptor of a registered queue that other rings can import (Linux 6.19). Errors as [`zcrx_ctrl`];
/// EMFILE and ENFILE.
///
/// The queue exists while the descriptor is open.
pub fn zcrx_export(ring: BorrowedFd<'_>, zcrx_id: u32) -> io::Result<OwnedFd> {
    let mut ctrl = ZcrxCtrl::export(zcrx_id);
    // SAFETY: this operation points to nothing.
    unsafe { zcrx_ctrl(ring, &mut ctrl) }?;
    // SAFETY: the kernel has just opened the descriptor for this call, so it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(ctrl.exported_fd()) })
}

/// Lets `ring` receive into a queue that another ring exported (Linux 6.19); returns the queue's id on this ring.
///
/// Errors: EBADF `queue` is no exported queue; EINVAL the kernel cannot import, or the ring lacks the flags of
/// [`zcrx_ifq`]. The call must come from the ring's own thread. Area and refill ring are those of the queue.
pub fn zcrx_import(ring: BorrowedFd<'_>, queue: BorrowedFd<'_>) -> io::Result<u32> {
    let mut reg =
        ZcrxIfqReg { if_idx: queue.as_raw_fd() as u32, flags: ZCRX_REG_IMPORT, ..ZcrxIfqReg::default() };
    // SAFETY: the structure lives to the end of the call, has the kernel's layout and points to nothing; the program that
    // registered the queue vouches for its memory.
    unsafe { register(Some(ring), IORING_REGISTER_ZCRX_IFQ, (&raw mut reg).cast(), 1) }?;
    Ok(reg.zcrx_id)
}
