//! Data that waits for its sink, in order, and the list by which the kernel finds the first of it.

use std::collections::VecDeque;
use std::ptr;

use super::backlog::Backlog;
use crate::receive::pool::{Buffer, Pool};

/// Most pieces handed to one request.
const PIECES_AT_ONCE: usize = 64;

/// Some data, and where it is.
enum Piece {
    /// Where it was received.
    Held(Buffer),
    /// Copied out.
    Copied(Box<[u8]>),
}

/// The data of one connection on its way out.
pub(super) struct Outbox {
    pieces: VecDeque<Piece>,
    /// Of the pieces, those that hold a buffer.
    held: u64,
    /// Of the pieces, those that are copies.
    copies: u64,
    /// Bytes of the first piece that are written already.
    done_of_first: usize,
    list: Box<List>,
}

/// What a request points to.
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
            copies: 0,
            done_of_first: 0,
            list: Box::new(List { header, iovecs: [empty; PIECES_AT_ONCE] }),
        }
    }

    /// Takes a buffer, to be given back when it is written.
    pub(super) fn hold(&mut self, buffer: Buffer, backlog: &mut Backlog) {
        backlog.hold();
        self.held += 1;
        self.pieces.push_back(Piece::Held(buffer));
    }

    /// Takes a copy of a buffer and gives that back at once.
    pub(super) fn copy(&mut self, buffer: Buffer, pool: &mut Pool, backlog: &mut Backlog) {
        let copy: Box<[u8]> = pool.bytes(&buffer).into();
        pool.give_back(buffer);
        backlog.copy(copy.len());
        self.copies += 1;
        self.pieces.push_back(Piece::Copied(copy));
    }

    /// Buffers it holds.
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    /// Whether it has copies, and so holds as many buffers as it may.
    pub(super) const fn has_copies(&self) -> bool {
        self.copies > 0
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.pieces.iter().map(Piece::len).sum::<usize>() - self.done_of_first
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Lists the first pieces; `None` if there are none. What is pointed to stays as it is until [`Self::written`] or
    /// [`Self::clear`]: neither may be called while a request uses it.
    pub(super) fn list(&mut self, pool: &Pool) -> Option<&libc::msghdr> {
        if self.pieces.is_empty() {
            return None;
        }
        let mut skip = self.done_of_first;
        let mut count = 0;
        for (piece, iovec) in self.pieces.iter().zip(&mut self.list.iovecs) {
            let bytes = &piece.bytes(pool)[skip..];
            *iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            skip = 0;
            count += 1;
        }
        self.list.header.msg_iov = self.list.iovecs.as_mut_ptr();
        self.list.header.msg_iovlen = count;
        Some(&self.list.header)
    }

    /// So many bytes are written: gives back the buffers, and frees the copies, that are written to their end.
    pub(super) fn written(&mut self, mut bytes: usize, pool: &mut Pool, backlog: &mut Backlog) {
        while let Some(first) = self.pieces.front() {
            let left = first.len() - self.done_of_first;
            if bytes < left {
                self.done_of_first += bytes;
                return;
            }
            bytes -= left;
            self.done_of_first = 0;
            self.drop_first(pool, backlog);
        }
    }

    /// Gives back everything, written or not.
    pub(super) fn clear(&mut self, pool: &mut Pool, backlog: &mut Backlog) {
        while !self.pieces.is_empty() {
            self.drop_first(pool, backlog);
        }
        self.done_of_first = 0;
    }

    fn drop_first(&mut self, pool: &mut Pool, backlog: &mut Backlog) {
        match self.pieces.pop_front() {
            Some(Piece::Held(buffer)) => {
                self.held -= 1;
                backlog.release();
                pool.give_back(buffer);
            }
            Some(Piece::Copied(copy)) => {
                self.copies -= 1;
                backlog.free(copy.len());
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
