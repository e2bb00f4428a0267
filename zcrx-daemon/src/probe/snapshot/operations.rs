//! How to tell a ring, or an exported queue, from any other file: by the address of its operations.

use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use crate::kernel::{Part, Symbols};

/// Addresses of file operations.
pub(super) struct Operations {
    /// Of rings.
    pub(super) rings: u64,
    /// Of exported queues, 0 if there are none on this kernel or they cannot be told.
    pub(super) exported: u64,
    /// What cannot be found for want of an address.
    pub(super) incomplete: Option<String>,
}

/// Finds the addresses. A ring's is learnt from a ring of our own: that needs no symbol table, which is often
/// hidden. An exported queue cannot be made without a queue, so its address has to come from the table.
pub(super) fn find(learn: impl FnOnce(u32) -> Result<u64, String>) -> Result<Operations, String> {
    const RING: &str = "io_uring_fops";
    const EXPORTED: &str = "zcrx_box_fops";
    let symbols = Symbols::look_up(&[RING, EXPORTED]);
    let address = |name: &str| symbols.as_ref().ok()?.get(name)?.address;
    let learnt = own_ring().and_then(|ring| learn(ring.as_raw_fd() as u32));
    let rings = match (learnt, address(RING)) {
        (Ok(rings), _) if rings != 0 => rings,
        (_, Some(rings)) => rings,
        (Ok(_), None) => return Err("the iterator did not meet the ring it was to learn from".to_owned()),
        (Err(reason), None) => return Err(reason),
    };
    let exported = address(EXPORTED);
    let incomplete = match (&symbols, exported) {
        (_, Some(_)) => None,
        (Err(hidden), None) => Some(hidden.clone()),
        (Ok(symbols), None) => symbols.get(EXPORTED).map(|_| "kernel addresses are hidden".to_owned()),
    };
    let incomplete =
        incomplete.map(|reason| format!("exported queues that outlived their ring are not found: {reason}"));
    Ok(Operations { rings, exported: exported.unwrap_or(0), incomplete })
}

/// A ring that is never used.
pub(super) fn own_ring() -> Part<OwnedFd> {
    let mut params = [0_u8; 120];
    // SAFETY: the parameters have the size of `struct io_uring_params` and outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr()) };
    if fd < 0 {
        return Err(format!("no ring to learn from: {}", std::io::Error::last_os_error()));
    }
    // SAFETY: the call returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
