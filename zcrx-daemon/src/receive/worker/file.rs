//! A connection's data on its way into a file of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use io_uring::{opcode, squeue, types};

use super::backlog::Backlog;
use super::outbox::Outbox;
use crate::receive::pool::Pool;

/// How many names are tried before there is none: connections of one peer within a microsecond.
const NAMES: u32 = 16;

/// A file that holds what one connection brought, byte for byte, and nothing else.
pub(super) struct FileSink {
    file: File,
    path: PathBuf,
    /// What is yet to be written.
    pub(super) outbox: Outbox,
    /// Bytes written.
    written: u64,
    writing: bool,
    finished: bool,
}

impl FileSink {
    /// Makes a new file in the directory: seconds since 1970 to the microsecond, and the peer. Never one that exists.
    pub(super) fn create(directory: &Path, peer: &str) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let peer = peer.replace([':', '/', ' '], "_").replace(['[', ']'], "");
        let name = format!("{}.{:06}-{peer}", now.as_secs(), now.subsec_micros());
        let mut attempt = 0;
        loop {
            let more = if attempt == 0 { String::new() } else { format!("-{attempt}") };
            let path = directory.join(format!("{name}{more}"));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let outbox = Outbox::new();
                    return Ok(Self { file, path, outbox, written: 0, writing: false, finished: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < NAMES => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether all is written that ever will be.
    pub(super) fn is_done(&self) -> bool {
        self.finished && !self.writing && self.outbox.is_empty()
    }

    /// The request that writes what is next, if there is anything and none is in flight. It points into the outbox, which
    /// is left alone until [`Self::wrote`].
    pub(super) fn write(&mut self, pool: &Pool) -> Option<squeue::Entry> {
        if self.writing {
            return None;
        }
        let list = self.outbox.list(pool)?;
        self.writing = true;
        let (pieces, count) = (list.msg_iov, list.msg_iovlen as u32);
        let file = types::Fd(self.file.as_raw_fd());
        Some(opcode::Writev::new(file, pieces, count).offset(self.written).build())
    }

    /// So many bytes are in the file.
    pub(super) fn wrote(&mut self, bytes: usize, pool: &mut Pool, backlog: &mut Backlog) {
        self.writing = false;
        self.written += bytes as u64;
        self.outbox.written(bytes, pool, backlog);
    }

    /// What a person is told of it.
    pub(super) fn describe(&self) -> String {
        format!("{} ({} bytes written)", self.path.display(), self.written)
    }
}
