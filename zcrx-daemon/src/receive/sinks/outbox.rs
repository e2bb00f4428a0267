//! Payload that waits for its sink, in order, and the list by which the kernel finds the first of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::ptr;

use rustix::fs::{MemfdFlags, memfd_create};

use super::backlog::{Backlog, Place};
use super::lent::Lent;
use super::{Flow, Storage};
use crate::receive::pool::{Buffer, Pool};

/// Most pieces handed to one request.
const PIECES_AT_ONCE: usize = 64;

/// Payload from which on a send without a copy is worth its notification, bytes.
const LEAST_TO_LEND: usize = 16 << 10;

/// Room that a paused connection waits for, bytes.
const RESUME_BYTES: usize = 64 << 10;

/// Size of the pieces in which another process's payload is taken over, bytes.
const PIECE_BYTES: u64 = 64 << 10;

/// Some payload, and where it is.
enum Piece {
    /// Where it was received.
    Held(Buffer),
    /// Copied out.
    Copied(Box<[u8]>),
}

/// The payload of one connection on its way out.
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Buffers of pieces, and lent buffers.
    held: u64,
    lent: Lent,
    /// Pieces that are copies.
    copies: u64,
    /// Bytes of the first piece that are written.
    done_of_first: usize,
    /// Bytes of all pieces.
    bytes: usize,
    list: Box<List>,
}

/// Memory that a request points to.
struct List {
    header: libc::msghdr,
    iovecs: [libc::iovec; PIECES_AT_ONCE],
}

impl Outbox {
    pub(super) fn new() -> Self {
        // SAFETY: a header of zeroes is a header with nothing in it.
        let header = unsafe { std::mem::zeroed() };
        let empty = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            pieces: VecDeque::new(),
            held: 0,
            lent: Lent::default(),
            copies: 0,
            done_of_first: 0,
            bytes: 0,
            list: Box::new(List { header, iovecs: [empty; PIECES_AT_ONCE] }),
        }
    }

    /// Takes a buffer, or a copy of it where the sinks hold enough of the area.
    pub(super) fn take(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow {
        self.bytes += buffer.len();
        match storage.backlog.place(self.held, storage.connections, buffer.len()) {
            Place::Area => {
                self.hold(buffer, storage.backlog);
                Flow::Submit
            }
            Place::Memory => {
                storage.statistics.limit_reached += u64::from(self.copies == 0);
                storage.statistics.copied_out_bytes += buffer.len() as u64;
                let copy: Box<[u8]> = storage.pool.bytes(&buffer).into();
                storage.pool.give_back(buffer);
                storage.backlog.copy(copy.len());
                self.copies += 1;
                self.pieces.push_back(Piece::Copied(copy));
                Flow::Submit
            }
            Place::Nowhere => {
                self.hold(buffer, storage.backlog);
                Flow::Pause
            }
        }
    }

    fn hold(&mut self, buffer: Buffer, backlog: &mut Backlog) {
        backlog.hold();
        self.held += 1;
        self.pieces.push_back(Piece::Held(buffer));
    }

    /// Whether a connection that was paused may go on: its copies are gone, and there is room for more than a piece. At
    /// the first free byte it would only pause again.
    pub(super) fn has_room(&self, backlog: &Backlog, connections: usize) -> bool {
        self.copies == 0 && backlog.place(self.held, connections, RESUME_BYTES) != Place::Nowhere
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes - self.done_of_first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Lists the first pieces; `None` if there are none. The list and its memory stay unchanged until [`Self::written`] or
    /// [`Self::clear`]: neither may be called while a request uses it.
    pub(super) fn list(&mut self, pool: &Pool) -> Option<&libc::msghdr> {
        let listed = self.fill(pool, |_| true);
        (listed > 0).then_some(&self.list.header)
    }

    /// As [`Self::list`], for a send without a copy: lists the first pieces as far as the kernel can send from them. Returns the
    /// send's slot too, which is occupied until [`Self::released`]. `None` if there are too few such bytes or no slot is free.
    pub(super) fn lend(&mut self, pool: &Pool) -> Option<(&libc::msghdr, u8)> {
        let lendable = |piece: &Piece| matches!(piece, Piece::Held(buffer) if pool.is_lendable(buffer));
        if self.fill(pool, lendable) < LEAST_TO_LEND {
            return None;
        }
        let slot = self.lent.begin()?;
        Some((&self.list.header, slot))
    }

    /// Lists the first pieces up to one that `takes` refuses. Returns their bytes.
    fn fill(&mut self, pool: &Pool, takes: impl Fn(&Piece) -> bool) -> usize {
        let mut skip = self.done_of_first;
        let (mut count, mut listed) = (0, 0);
        let first = self.pieces.iter().take_while(|piece| takes(piece));
        for (piece, iovec) in first.zip(&mut self.list.iovecs) {
            let bytes = &piece.bytes(pool)[skip..];
            *iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            skip = 0;
            count += 1;
            listed += bytes.len();
        }
        self.list.header.msg_iov = self.list.iovecs.as_mut_ptr();
        self.list.header.msg_iovlen = count;
        listed
    }

    /// Ends a send without a copy: its notification has arrived. Returns the buffers that no send uses any more.
    pub(super) fn released(&mut self, slot: u8, storage: &mut Storage<'_>) {
        self.lent.end(slot);
        self.take_back(storage);
    }

    /// Number of sends without a copy whose notification is outstanding.
    pub(super) fn lending(&self) -> u32 {
        self.lent.sends()
    }

    fn take_back(&mut self, storage: &mut Storage<'_>) {
        while let Some(buffer) = self.lent.take_free() {
            self.held -= 1;
            storage.backlog.release();
            storage.pool.give_back(buffer);
        }
    }

    /// Notes that `bytes` are written. Returns the buffers, and frees the copies, that are written to their end. Buffers that the
    /// kernel still sends from are returned by [`Self::released`].
    pub(super) fn written(&mut self, mut bytes: usize, storage: &mut Storage<'_>) {
        while let Some(first) = self.pieces.front() {
            let left = first.len() - self.done_of_first;
            if bytes < left {
                self.done_of_first += bytes;
                return;
            }
            bytes -= left;
            self.done_of_first = 0;
            self.drop_first(storage);
        }
    }

    /// Copies all buffers to ordinary memory, whatever the limits: the area goes away. The kernel keeps the memory of lent buffers
    /// as long as it sends from them.
    pub(super) fn leave_area(&mut self, storage: &mut Storage<'_>) {
        while self.lent.take_any().is_some() {
            self.held -= 1;
            storage.backlog.release();
        }
        self.lent = Lent::default();
        for piece in &mut self.pieces {
            let Piece::Held(buffer) = piece else { continue };
            let copy: Box<[u8]> = storage.pool.bytes(buffer).into();
            storage.backlog.copy(copy.len());
            storage.backlog.release();
            storage.statistics.copied_out_bytes += copy.len() as u64;
            self.held -= 1;
            self.copies += 1;
            if let Piece::Held(buffer) = std::mem::replace(piece, Piece::Copied(copy)) {
                storage.pool.give_back(buffer);
            }
        }
    }

    /// Returns everything, written or not.
    pub(super) fn clear(&mut self, storage: &mut Storage<'_>) {
        while !self.pieces.is_empty() {
            self.drop_first(storage);
        }
        self.done_of_first = 0;
    }

    /// Moves what waits to a file in memory, for another process; `None` if nothing does. Valid after [`Self::leave_area`]. Payload is
    /// in memory twice for one piece at a time. [`Self::bytes`] stays, as what is lost if the file does not arrive.
    pub(super) fn leave(&mut self) -> io::Result<Option<OwnedFd>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut file = File::from(memfd_create("zcrxd-outbox", MemfdFlags::CLOEXEC)?);
        let mut skip = self.done_of_first;
        while let Some(piece) = self.pieces.pop_front() {
            let Piece::Copied(copy) = piece else { return Err(io::ErrorKind::Unsupported.into()) };
            file.write_all(&copy[skip..])?;
            skip = 0;
        }
        Ok(Some(file.into()))
    }

    /// What waited in another process: so many bytes, in the next file.
    pub(super) fn restore(
        bytes: u64,
        files: &mut impl Iterator<Item = OwnedFd>,
        backlog: &mut Backlog,
    ) -> io::Result<Self> {
        let mut outbox = Self::new();
        if bytes == 0 {
            return Ok(outbox);
        }
        let file = File::from(files.next().ok_or(io::ErrorKind::NotFound)?);
        let mut at = 0;
        while at < bytes {
            let mut piece = vec![0; (bytes - at).min(PIECE_BYTES) as usize];
            file.read_exact_at(&mut piece, at)?;
            at += piece.len() as u64;
            backlog.copy(piece.len());
            outbox.bytes += piece.len();
            outbox.copies += 1;
            outbox.pieces.push_back(Piece::Copied(piece.into()));
        }
        Ok(outbox)
    }

    fn drop_first(&mut self, storage: &mut Storage<'_>) {
        match self.pieces.pop_front() {
            Some(Piece::Held(buffer)) => {
                self.bytes -= buffer.len();
                self.lent.lend(buffer);
                self.take_back(storage);
            }
            Some(Piece::Copied(copy)) => {
                self.copies -= 1;
                self.bytes -= copy.len();
                storage.backlog.free(copy.len());
            }
            None => {}
        }
    }
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Held(buffer) => buffer.len(),
            Self::Copied(copy) => copy.len(),
        }
    }

    fn bytes<'a>(&'a self, pool: &'a Pool) -> &'a [u8] {
        match self {
            Self::Held(buffer) => pool.bytes(buffer),
            Self::Copied(copy) => copy,
        }
    }
}
