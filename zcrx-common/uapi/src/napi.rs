//! NAPI busy polling by a ring.

use std::io;
use std::os::fd::BorrowedFd;

use super::register::register;

/// `IORING_REGISTER_NAPI` (Linux 6.9).
const IORING_REGISTER_NAPI: u32 = 27;

/// `struct io_uring_napi`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Napi {
    /// Microseconds.
    busy_poll_to: u32,
    prefer_busy_poll: u8,
    /// 0: this is a registration, with the NAPI instances of the ring's sockets found as they come.
    opcode: u8,
    pad: [u8; 2],
    op_param: u32,
    resv: u32,
}
const _: () = assert!(size_of::<Napi>() == 16);

/// Makes waits on a ring poll the NIC queues of its sockets for a number of microseconds before they sleep.
///
/// Errors: EINVAL on kernels without it (before Linux 6.9, or without `CONFIG_NET_RX_BUSY_POLL`).
pub fn busy_poll(ring: BorrowedFd<'_>, micros: u32) -> io::Result<()> {
    let mut napi = Napi { busy_poll_to: micros, ..Napi::default() };
    // SAFETY: the structure has the kernel's layout and lives to the end of the call, which writes the former setting to it.
    unsafe { register(Some(ring), IORING_REGISTER_NAPI, (&raw mut napi).cast(), 1) }.map(drop)
}
