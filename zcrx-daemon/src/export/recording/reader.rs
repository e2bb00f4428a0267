//! Reads recordings.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::format::{Entry, FORMAT, Header, VERSION};
use crate::model::QueueSample;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read.
    #[error("{}: cannot read the recording: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{}: not a recording of zcrxd: the first line is no header with \"format\": \"{FORMAT}\"", path.display())]
    NotARecording {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another zcrxd.
    #[error(
        "{}: format version {found}, and this zcrxd ({}) reads version {VERSION} only: read it with zcrxd {writer}, \
         which wrote it",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// Who wrote it.
        writer: String,
    },
    /// A line makes no sense, and it is not the last one.
    #[error("{}:{line}: damaged: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// The error.
        source: serde_json::Error,
    },
}

/// More than any recorder writes: what is larger was not written by one, and its rest is not read.
const MOST_BYTES: u64 = 256 << 20;

/// A recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The header.
    pub header: Header,
    /// Everything else, oldest first.
    pub entries: Vec<Entry>,
    /// Whether the last line was torn, because its writer was killed, and left out.
    pub torn: bool,
}

impl Recording {
    /// Reads the whole of it.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Read { path: path.to_owned(), source };
        let mut lines = BufReader::new(File::open(path).map_err(failed)?.take(MOST_BYTES));
        let mut line = Vec::new();
        lines.read_until(b'\n', &mut line).map_err(failed)?;
        let header = header(path, &line)?;
        let (mut entries, mut torn) = (Vec::new(), false);
        for number in 2.. {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            match serde_json::from_slice(&line) {
                Ok(entry) => entries.push(entry),
                // Only the very last line has no end.
                Err(_) if !line.ends_with(b"\n") => torn = true,
                Err(source) => {
                    return Err(ReadError::Damaged { path: path.to_owned(), line: number, source });
                }
            }
        }
        Ok(Self { header, entries, torn })
    }

    /// The samples.
    pub fn samples(&self) -> impl Iterator<Item = &QueueSample> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Sample(sample) => Some(&**sample),
            _ => None,
        })
    }
}

/// Looks at name and version before anything else: a later version may have another header.
fn header(path: &Path, line: &[u8]) -> Result<Header, ReadError> {
    let not_ours = || ReadError::NotARecording { path: path.to_owned() };
    let about: serde_json::Value = serde_json::from_slice(line).map_err(|_| not_ours())?;
    if about.get("format").and_then(serde_json::Value::as_str) != Some(FORMAT) {
        return Err(not_ours());
    }
    let found = about.get("version").and_then(serde_json::Value::as_u64).ok_or_else(not_ours)?;
    if found != u64::from(VERSION) {
        let writer = about.get("zcrxd").and_then(serde_json::Value::as_str).unwrap_or("of another version");
        return Err(ReadError::Version { path: path.to_owned(), found, writer: writer.to_owned() });
    }
    serde_json::from_value(about).map_err(|source| ReadError::Damaged {
        path: path.to_owned(),
        line: 1,
        source,
    })
}
