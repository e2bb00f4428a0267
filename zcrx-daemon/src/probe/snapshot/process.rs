//! Processes that hold rings.

use std::path::Path;

/// Whether a process has not exited, or its parent has not waited for it.
pub(super) fn lives(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}
