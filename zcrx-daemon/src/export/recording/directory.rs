//! The directory of recordings, which never grows beyond its bound and never fills its disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How names of recordings end. Nothing else in the directory is ever touched.
const SUFFIX: &str = ".zcrx.jsonl";

/// How names of recordings end that are not complete enough to be seen.
const UNFINISHED: &str = ".zcrx.part";

/// Bounds of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All recordings together, bytes.
    pub total_bytes: u64,
    /// One recording, bytes: samples are left out beyond that.
    pub file_bytes: u64,
    /// What must stay free on the disk, bytes: nothing is written below that.
    pub keep_free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { total_bytes: 256 << 20, file_bytes: 4 << 20, keep_free_bytes: 512 << 20 }
    }
}

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRoom {
    #[error("only {free} bytes are free on its disk, and {keep} are kept free")]
    Disk { free: u64, keep: u64 },
    #[error("recordings that are being written take all of the {0} bytes allowed")]
    Busy(u64),
    #[error(transparent)]
    System(#[from] io::Error),
}

pub(super) struct Directory {
    path: PathBuf,
    pub(super) limits: Limits,
}

impl Directory {
    /// Makes it if need be, readable for its owner only: samples name processes.
    pub(super) fn open(path: PathBuf, limits: Limits) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let directory = Self { path, limits };
        for (unfinished, _, _) in directory.files(UNFINISHED)? {
            fs::remove_file(unfinished)?;
        }
        Ok(directory)
    }

    /// Where a recording of this name is while it is not complete enough to be seen, and where afterwards.
    pub(super) fn places(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.path.join(format!("{name}{UNFINISHED}")), self.path.join(format!("{name}{SUFFIX}")))
    }

    /// Makes a file that was renamed into the directory stay there over a power failure.
    pub(super) fn sync(&self) -> io::Result<()> {
        fs::File::open(&self.path)?.sync_all()
    }

    /// Whether the disk has room to write so much.
    pub(super) fn has_room(&self, bytes: u64) -> Result<(), NoRoom> {
        let disk = rustix::fs::statvfs(&self.path).map_err(io::Error::from)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let keep = self.limits.keep_free_bytes;
        if free < keep.saturating_add(bytes) { Err(NoRoom::Disk { free, keep }) } else { Ok(()) }
    }

    /// Makes room for one more recording of the largest size: removes the oldest ones, but none of `open`.
    pub(super) fn make_room(&self, open: &[PathBuf]) -> Result<(), NoRoom> {
        let limit = self.limits.total_bytes;
        let mut files = self.files(SUFFIX)?;
        files.sort_by(|a, b| (a.2, &a.0).cmp(&(b.2, &b.0)));
        // Open recordings may still grow to their largest size.
        let size =
            |path: &PathBuf, bytes: u64| if open.contains(path) { self.limits.file_bytes } else { bytes };
        let mut total =
            self.limits.file_bytes + files.iter().map(|(path, bytes, _)| size(path, *bytes)).sum::<u64>();
        for (path, bytes, _) in files.iter().filter(|(path, _, _)| !open.contains(path)) {
            if total <= limit {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        if total > limit { Err(NoRoom::Busy(limit)) } else { self.has_room(self.limits.file_bytes) }
    }

    /// Files whose names end so: path, size, time of the last change.
    fn files(&self, suffix: &str) -> io::Result<Vec<(PathBuf, u64, SystemTime)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_file() && entry.file_name().to_string_lossy().ends_with(suffix) {
                files.push((entry.path(), about.len(), about.modified()?));
            }
        }
        Ok(files)
    }
}

/// A name made of what may be anything: interface names only exclude slashes and blanks.
pub(super) fn file_name_part(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    text.chars().map(plain).collect::<String>().trim_start_matches('.').to_owned()
}

/// The directory itself, for messages.
impl AsRef<Path> for Directory {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}
