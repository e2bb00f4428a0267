//! A registration of an interface queue that the kernel refuses, by this process itself.

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use io_uring::{IoUring, cqueue, squeue};

/// `IORING_REGISTER_ZCRX_IFQ`, Linux 6.15.
const REGISTER_ZCRX_IFQ: libc::c_uint = 32;

/// How many arguments follow: the kernel wants to hear it.
const ONE: libc::c_uint = 1;

/// `struct io_uring_zcrx_ifq_reg`: 96 bytes on every kernel.
type Argument = [u64; 12];

/// Asks for a queue with nothing filled in, which no kernel grants, and returns the errno.
pub(super) fn refused() -> Result<i32> {
    // The ring that zcrx asks for, so that the kernel looks at the argument.
    let ring: IoUring<squeue::Entry, cqueue::Entry32> = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(8)
        .context("io_uring cannot be used")?;
    let mut argument: Argument = [0; 12];
    // SAFETY: the ring's descriptor is open, and the argument is as long as the kernel reads and writes.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            REGISTER_ZCRX_IFQ,
            argument.as_mut_ptr(),
            ONE,
        )
    };
    let error = io::Error::last_os_error();
    if result == 0 {
        bail!("the kernel registered an interface queue that was not described");
    }
    error.raw_os_error().context("the kernel gave no errno")
}
