//! A connection's data on its way to another socket.

use std::collections::VecDeque;
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use socket2::{SockAddr, Socket};

use crate::receive::pool::{Buffer, Pool};

/// Most buffers handed to one send.
const BUFFERS_AT_ONCE: usize = 64;
/// How often connecting is tried before the connection is given up: about 6 s.
const CONNECT_ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// What is to be done about the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits to be connected: at once, or after a pause.
    Unconnected,
    /// A connect request is in flight.
    Connecting,
    /// Connected, nothing in flight.
    Ready,
    /// A send request is in flight.
    Sending,
}

/// Buffers held until the destination has taken their data, in order.
pub(super) struct Forward {
    socket: Socket,
    /// Shared with the kernel while connecting.
    address: Box<SockAddr>,
    state: State,
    attempts: u32,
    queue: VecDeque<Buffer>,
    /// Bytes of the first buffer that are sent already.
    sent_of_first: usize,
    message: Box<Message>,
    /// Nothing more will be queued.
    finished: bool,
}

/// What a send request points to.
struct Message {
    header: libc::msghdr,
    iovecs: [libc::iovec; BUFFERS_AT_ONCE],
}

impl Forward {
    /// With a socket that is yet to be connected.
    pub(super) fn new(socket: Socket, address: SockAddr) -> Self {
        // SAFETY: a header of zeroes is a header with nothing in it.
        let header = unsafe { std::mem::zeroed() };
        let empty = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            socket,
            address: Box::new(address),
            state: State::Unconnected,
            attempts: 0,
            queue: VecDeque::new(),
            sent_of_first: 0,
            message: Box::new(Message { header, iovecs: [empty; BUFFERS_AT_ONCE] }),
            finished: false,
        }
    }

    /// The request that connects. It points to the address, which stays where it is as long as `self` lives.
    pub(super) fn connect(&mut self) -> squeue::Entry {
        self.attempts += 1;
        self.state = State::Connecting;
        let address = self.address.as_ptr().cast();
        opcode::Connect::new(types::Fd(self.socket.as_raw_fd()), address, self.address.len()).build()
    }

    /// How long to wait before connecting again; `None` if it was tried often enough.
    pub(super) fn pause(&self) -> Option<Duration> {
        (self.attempts < CONNECT_ATTEMPTS).then(|| FIRST_PAUSE * (1 << (self.attempts - 1)))
    }

    /// The connect request failed. A socket that could not be connected is in no defined state: the next attempt
    /// gets a fresh one.
    pub(super) fn failed(&mut self, fresh: Socket) {
        self.state = State::Unconnected;
        self.socket = fresh;
    }

    /// Whether it waits to be connected.
    pub(super) fn wants_connect(&self) -> bool {
        self.state == State::Unconnected
    }

    /// The connect request succeeded.
    pub(super) fn connected(&mut self) {
        self.state = State::Ready;
    }

    /// Takes a buffer, to be given back when it is sent.
    pub(super) fn queue(&mut self, buffer: Buffer) {
        self.queue.push_back(buffer);
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether all is sent that ever will be.
    pub(super) fn is_done(&self) -> bool {
        self.finished && self.queue.is_empty() && self.state == State::Ready
    }

    /// The request that sends the next buffers, if there are any and none is in flight. It points to the message and
    /// to the buffers, which stay where they are until [`Self::sent`].
    pub(super) fn send(&mut self, pool: &Pool) -> Option<squeue::Entry> {
        if self.state != State::Ready || self.queue.is_empty() {
            return None;
        }
        let mut skip = self.sent_of_first;
        let mut count = 0;
        for (buffer, iovec) in self.queue.iter().zip(&mut self.message.iovecs) {
            let bytes = &pool.bytes(buffer)[skip..];
            *iovec = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            skip = 0;
            count += 1;
        }
        self.message.header.msg_iov = self.message.iovecs.as_mut_ptr();
        self.message.header.msg_iovlen = count;
        self.state = State::Sending;
        let header = &raw const self.message.header;
        let flags = libc::MSG_NOSIGNAL as u32;
        Some(opcode::SendMsg::new(types::Fd(self.socket.as_raw_fd()), header).flags(flags).build())
    }

    /// The destination took so many bytes: gives back the buffers that are sent.
    pub(super) fn sent(&mut self, mut bytes: usize, pool: &mut Pool) {
        self.state = State::Ready;
        while let Some(first) = self.queue.front() {
            let left = first.len() - self.sent_of_first;
            if bytes < left {
                self.sent_of_first += bytes;
                return;
            }
            bytes -= left;
            self.sent_of_first = 0;
            if let Some(first) = self.queue.pop_front() {
                pool.give_back(first);
            }
        }
    }

    /// Gives back everything, sent or not. Only when no send is in flight.
    pub(super) fn give_up(&mut self, pool: &mut Pool) {
        for buffer in self.queue.drain(..) {
            pool.give_back(buffer);
        }
    }

    /// The destination's socket.
    pub(super) const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Whether a connect request is in flight.
    pub(super) fn is_connecting(&self) -> bool {
        self.state == State::Connecting
    }
}
