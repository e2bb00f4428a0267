//! Recognises files that are rings or exported queues.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::kernel::Part;

/// Kernel addresses by which the programs recognise files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operations {
    /// The operations of rings.
    pub(super) rings: u64,
    /// The superblock of the kernel's anonymous files, to which exported queues belong, with a name of their own. 0 if the
    /// kernel's types do not describe it.
    pub(super) superblock: u64,
}

/// Learns both from a ring of our own: that needs no symbol table, which is often hidden and takes the kernel long to print.
pub(super) fn find(learn: impl FnOnce(u32) -> Result<Operations, String>) -> Result<Operations, String> {
    let ring = own_ring()?;
    let found = learn(ring.as_raw_fd() as u32)?;
    if found.rings == 0 {
        return Err("the iterator did not meet the ring it was to learn from".to_owned());
    }
    Ok(found)
}

/// A ring that is never used.
pub(super) fn own_ring() -> Part<OwnedFd> {
    let mut params = [0_u8; 120];
    // SAFETY: the parameters have the size of `struct io_uring_params` and outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(format!("no ring to learn from: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the call returned a new descriptor that no other code owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
