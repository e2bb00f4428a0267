//! A connection's data on its way to another socket.

use std::os::fd::AsRawFd;
use std::ptr;
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use socket2::{SockAddr, Socket};

use super::backlog::Backlog;
use super::outbox::Outbox;
use crate::receive::pool::Pool;

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

/// Data held until the destination has taken it, in order.
pub(super) struct Forward {
    socket: Socket,
    /// Shared with the kernel while connecting.
    address: Box<SockAddr>,
    state: State,
    attempts: u32,
    /// What is yet to be sent.
    pub(super) outbox: Outbox,
    /// Nothing more will be queued.
    finished: bool,
}

impl Forward {
    /// With a socket that is yet to be connected.
    pub(super) fn new(socket: Socket, address: SockAddr) -> Self {
        Self {
            socket,
            address: Box::new(address),
            state: State::Unconnected,
            attempts: 0,
            outbox: Outbox::new(),
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

    /// Nothing more will come.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether all is sent that ever will be.
    pub(super) fn is_done(&self) -> bool {
        self.finished && self.outbox.is_empty() && self.state == State::Ready
    }

    /// The request that sends what is next, if there is anything and none is in flight. It points into the outbox, which
    /// is left alone until [`Self::sent`].
    pub(super) fn send(&mut self, pool: &Pool) -> Option<squeue::Entry> {
        if self.state != State::Ready {
            return None;
        }
        let header = ptr::from_ref(self.outbox.list(pool)?);
        self.state = State::Sending;
        let flags = libc::MSG_NOSIGNAL as u32;
        Some(opcode::SendMsg::new(types::Fd(self.socket.as_raw_fd()), header).flags(flags).build())
    }

    /// The destination took so many bytes.
    pub(super) fn sent(&mut self, bytes: usize, pool: &mut Pool, backlog: &mut Backlog) {
        self.state = State::Ready;
        self.outbox.written(bytes, pool, backlog);
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
