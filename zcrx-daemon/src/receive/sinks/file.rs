//! Sink that writes a connection's payload to a new file. The ring opens, writes and closes the file, so a disk that hangs
//! blocks no thread.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use io_uring::{opcode, squeue, types};
use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::{Backlog, Flow, Sink, SinkState, Step, Storage, is_transient};
use crate::receive::pool::{Buffer, Pool};
use crate::receive::worker::op::SinkOp;

/// Number of names tried before the sink fails: names collide for connections of one peer within one microsecond.
const NAMES: u32 = 16;

/// Mode of a new file, as in `open(2)`; the process's umask applies.
const MODE: libc::mode_t = 0o666;

/// A file with the payload of one connection, byte for byte.
pub(in crate::receive) struct FileSink {
    base: PathBuf,
    attempt: u32,
    /// Path, which the kernel reads while it opens the file.
    path: CString,
    file: Option<OwnedFd>,
    /// A request closes the file.
    closing: RawFd,
    outbox: Outbox,
    /// Bytes written.
    written: u64,
    /// The request in flight.
    busy: bool,
    finished: bool,
    closed: bool,
}

/// Where such a sink stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::receive) struct FileState {
    /// The file's name without the number of an attempt.
    base: PathBuf,
    attempt: u32,
    /// Whether the file is open. It is the first descriptor.
    open: bool,
    /// Bytes that wait to be written, in a file: the last descriptor, if there are any.
    waiting: u64,
    written: u64,
    finished: bool,
}

impl FileState {
    pub(super) fn is_sound(&self) -> bool {
        self.attempt <= NAMES && (self.open || self.written == 0)
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.open) + usize::from(self.waiting > 0)
    }
}

impl FileSink {
    /// Continues the sink of another process.
    pub(super) fn restore(
        state: FileState,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
        backlog: &mut Backlog,
    ) -> io::Result<Self> {
        let FileState { base, attempt, open, waiting, written, finished } = state;
        let file = open.then(|| descriptors.next().ok_or(io::ErrorKind::NotFound)).transpose()?;
        let outbox = Outbox::restore(waiting, descriptors, backlog)?;
        let path = CString::default();
        let (closing, busy, closed) = (-1, false, false);
        let mut sink = Self { base, attempt, path, file, closing, outbox, written, busy, finished, closed };
        sink.name();
        Ok(sink)
    }

    /// Creates a sink for a new file in the directory. The file's name is the time (seconds since 1970, to the microsecond) and
    /// the peer.
    pub(super) fn new(directory: &Path, peer: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let peer = peer.replace([':', '/', ' '], "_").replace(['[', ']'], "");
        let base = directory.join(format!("{}.{:06}-{peer}", now.as_secs(), now.subsec_micros()));
        let mut sink = Self {
            base,
            attempt: 0,
            path: CString::default(),
            file: None,
            closing: -1,
            outbox: Outbox::new(),
            written: 0,
            busy: false,
            finished: false,
            closed: false,
        };
        sink.name();
        sink
    }

    fn name(&mut self) {
        let mut path = self.base.as_os_str().as_bytes().to_vec();
        if self.attempt > 0 {
            path.extend_from_slice(format!("-{}", self.attempt).as_bytes());
        }
        // A path from the configuration has no NUL; an empty one is refused by the kernel.
        self.path = CString::new(path).unwrap_or_default();
    }

    fn opened(&mut self, result: i32) -> Step {
        if result >= 0 {
            // SAFETY: the kernel gave the descriptor to this completion alone.
            self.file = Some(unsafe { OwnedFd::from_raw_fd(result) });
            return Step::Continue;
        }
        if result == -libc::EEXIST && self.attempt < NAMES {
            self.attempt += 1;
            self.name();
            return Step::Continue;
        }
        if is_transient(result) { Step::Continue } else { Step::Failed(-result) }
    }
}

impl Sink for FileSink {
    fn consume(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow {
        self.outbox.take(buffer, storage)
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    fn next(&mut self, _socket: RawFd, pool: &Pool) -> Option<(squeue::Entry, SinkOp)> {
        if self.busy || self.closed {
            return None;
        }
        let Some(file) = &self.file else {
            self.busy = true;
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
            let open =
                opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), self.path.as_ptr()).flags(flags).mode(MODE);
            return Some((open.build(), SinkOp::Open));
        };
        if let Some(list) = self.outbox.list(pool) {
            self.busy = true;
            let write =
                opcode::Writev::new(types::Fd(file.as_raw_fd()), list.msg_iov, list.msg_iovlen as u32);
            return Some((write.offset(self.written).build(), SinkOp::Write));
        }
        if !self.finished {
            return None;
        }
        self.busy = true;
        self.closing = self.file.take().map_or(-1, IntoRawFd::into_raw_fd);
        Some((opcode::Close::new(types::Fd(self.closing)).build(), SinkOp::Close))
    }

    fn completed(&mut self, op: SinkOp, result: i32, storage: &mut Storage<'_>) -> Step {
        self.busy = false;
        match (op, usize::try_from(result)) {
            (SinkOp::Open, _) => return self.opened(result),
            (SinkOp::Close, Ok(_)) => self.closed = true,
            (SinkOp::Close, Err(_)) if result == -libc::ECANCELED => {
                // SAFETY: the request was cancelled before it closed the descriptor, which has no other owner.
                self.file = Some(unsafe { OwnedFd::from_raw_fd(self.closing) });
            }
            // Linux frees the descriptor whatever close(2) returns: data that a network file system could not store is lost.
            (SinkOp::Close, Err(_)) => {
                self.closed = true;
                return Step::Failed(-result);
            }
            (_, Ok(bytes)) => {
                self.written += bytes as u64;
                self.outbox.written(bytes, storage);
            }
            (_, Err(_)) if is_transient(result) => {}
            (_, Err(_)) => return Step::Failed(-result),
        }
        Step::Continue
    }

    fn is_done(&self) -> bool {
        self.closed
    }

    fn keeps_payload(&self) -> bool {
        true
    }

    fn state(&self) -> Option<SinkState> {
        (!self.closed).then(|| {
            SinkState::File(FileState {
                base: self.base.clone(),
                attempt: self.attempt,
                open: self.file.is_some(),
                waiting: self.outbox.bytes() as u64,
                written: self.written,
                finished: self.finished,
            })
        })
    }

    fn take_descriptors(&mut self) -> io::Result<Vec<OwnedFd>> {
        let waiting = self.outbox.leave()?;
        Ok(self.file.take().into_iter().chain(waiting).collect())
    }

    fn unconfirmed(&self) -> u64 {
        self.outbox.bytes() as u64
    }

    fn has_room(&self, backlog: &Backlog, connections: usize) -> bool {
        self.outbox.has_room(backlog, connections)
    }

    fn leave_area(&mut self, storage: &mut Storage<'_>) {
        self.outbox.leave_area(storage);
    }

    fn clear(&mut self, storage: &mut Storage<'_>) {
        self.outbox.clear(storage);
    }

    fn describe(&self) -> Option<String> {
        let path = Path::new(std::ffi::OsStr::from_bytes(self.path.as_bytes()));
        Some(format!("{} ({} bytes written)", path.display(), self.written))
    }
}
