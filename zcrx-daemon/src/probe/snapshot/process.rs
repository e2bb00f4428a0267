//! Processes that hold rings.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Whether a process has not exited, or its parent has not waited for it.
pub(super) fn lives(process: u32) -> bool {
    let Some(pid) = process.try_into().ok().and_then(Pid::from_raw) else { return false };
    test_kill_process(pid) != Err(Errno::SRCH)
}
