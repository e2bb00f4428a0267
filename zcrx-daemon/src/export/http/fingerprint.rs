//! A fingerprint that changes with a file, without reading the file.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// A file, and what it looked like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    path: PathBuf,
    /// Device, inode, size, time of the last change; `None` if it cannot be looked at.
    state: Option<(u64, u64, u64, i64, i64)>,
}

impl Fingerprint {
    /// Taken before the file is read, so that a change in between is a change.
    pub(super) fn of(path: PathBuf) -> Self {
        let state = fs::metadata(&path)
            .map(|found| (found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
            .ok();
        Self { path, state }
    }

    /// The same file as it looks now.
    pub(super) fn again(&self) -> Self {
        Self::of(self.path.clone())
    }
}
