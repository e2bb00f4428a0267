//! Descriptors of another process's sockets.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// Descriptors of our own for every socket of a process, as a supervisor that hands connections over would have.
pub(crate) fn sockets_of(pid: u64) -> Result<Vec<OwnedFd>> {
    let pid_number = i32::try_from(pid).context("a pid is a pid")?;
    // SAFETY: takes no pointers.
    let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, pid_number, 0) }).context("pidfd_open")?;
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).context("cannot read its descriptors")? {
        let path = entry.context("cannot read its descriptors")?.path();
        let target = fs::read_link(&path).unwrap_or_default();
        let number = path.file_name().and_then(|name| name.to_str()?.parse::<i32>().ok());
        let Some(number) = number.filter(|_| target.to_string_lossy().starts_with("socket:")) else {
            continue;
        };
        let raw = std::os::fd::AsRawFd::as_raw_fd(&process);
        // SAFETY: takes no pointers; the pidfd is open.
        let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw, number, 0) };
        sockets.push(own(copy).context("pidfd_getfd")?);
    }
    Ok(sockets)
}

/// A descriptor that a system call answered.
fn own(answer: libc::c_long) -> io::Result<OwnedFd> {
    let number = i32::try_from(answer).unwrap_or(-1);
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
