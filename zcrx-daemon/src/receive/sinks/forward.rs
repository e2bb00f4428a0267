//! Sink that sends a connection's payload to another socket.
//!
//! Closing a socket that holds unread data resets the connection, and the destination loses what it has not read yet. So the
//! sink reads (and discards) whatever the destination sends, half-closes when all payload is sent, and closes when the
//! destination has answered with its own end. Only then is the payload confirmed.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use io_uring::{opcode, squeue, types};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::warn;

use super::confirmation::{Check, Confirmation, ConfirmationState};
use super::outbox::Outbox;
use super::{Backlog, Flow, Sink, SinkState, Step, Storage, is_transient, zero_copy};
use crate::receive::error::errno_name;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::target::Addresses;
use crate::receive::worker::op::SinkOp;

/// Rounds over all addresses before zcrxd closes the connection: about 6 s.
const CONNECT_ROUNDS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Bytes read at once of a destination's reply, which zcrxd discards.
const REPLY_BYTES: usize = 4096;

/// The connection to the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// A connect request is due.
    Unconnected,
    /// Waits for the end of a pause, or for the resolution of a name.
    Waiting,
    Connecting,
    Connected,
    /// All payload is sent and the socket half-closed.
    Finishing,
    /// The destination has confirmed everything.
    Confirmed,
}

/// Where such a sink stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::receive) struct ForwardState {
    /// Whether there is a connection to the destination. It is the first descriptor.
    connected: bool,
    /// Bytes that wait to be sent, in a file: the last descriptor, if there are any.
    waiting: u64,
    finishing: bool,
    peer_finished: bool,
    finished: bool,
    confirmation: ConfirmationState,
}

impl ForwardState {
    pub(super) const fn is_sound(&self) -> bool {
        self.confirmation.is_sound() && (self.connected || !self.finishing)
    }

    pub(super) const fn waiting(&self) -> u64 {
        self.waiting
    }

    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.connected) + usize::from(self.waiting > 0)
    }
}

pub(in crate::receive) struct Forward {
    addresses: Arc<Addresses>,
    /// Index in `addresses`.
    current: usize,
    rounds: u32,
    /// Address, which the kernel reads while it connects.
    address: Box<SockAddr>,
    socket: Option<Socket>,
    link: Link,
    outbox: Outbox,
    sending: bool,
    reading: bool,
    /// The kernel writes replies of the destination here; zcrxd does not read them.
    reply: Box<[u8; REPLY_BYTES]>,
    /// The destination sends nothing more.
    peer_finished: bool,
    /// The source sends nothing more.
    finished: bool,
    confirmation: Confirmation,
}

impl Forward {
    pub(super) fn new(addresses: Arc<Addresses>) -> Self {
        let address = Box::new(addresses.first());
        Self {
            addresses,
            current: 0,
            rounds: 0,
            address,
            socket: None,
            link: Link::Unconnected,
            outbox: Outbox::new(),
            sending: false,
            reading: false,
            reply: Box::new([0; REPLY_BYTES]),
            peer_finished: false,
            finished: false,
            confirmation: Confirmation::new(),
        }
    }

    /// Continues the sink of another process.
    pub(super) fn restore(
        state: &ForwardState,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
        addresses: Arc<Addresses>,
        backlog: &mut Backlog,
    ) -> io::Result<Self> {
        let mut forward = Self::new(addresses);
        if state.connected {
            forward.socket = Some(descriptors.next().ok_or(io::ErrorKind::NotFound)?.into());
            forward.link = if state.finishing { Link::Finishing } else { Link::Connected };
        }
        forward.outbox = Outbox::restore(state.waiting, descriptors, backlog)?;
        let &ForwardState { peer_finished, finished, confirmation, .. } = state;
        Ok(Self { peer_finished, finished, confirmation: Confirmation::of(confirmation), ..forward })
    }

    /// Takes new addresses of the destination.
    pub(super) fn readdress(&mut self, addresses: Arc<Addresses>) {
        self.addresses = addresses;
        self.current = 0;
    }

    fn fd(&self) -> types::Fd {
        types::Fd(self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd))
    }

    /// A socket that failed to connect is in an undefined state: each attempt gets a new one.
    fn connect(&mut self) -> (squeue::Entry, SinkOp) {
        *self.address = self.addresses.get(self.current);
        let domain = Domain::from(i32::from(self.address.family()));
        self.socket = Socket::new(domain, Type::STREAM, None).ok();
        self.link = Link::Connecting;
        let connect = opcode::Connect::new(self.fd(), self.address.as_ptr().cast(), self.address.len());
        (connect.build(), SinkOp::Connect)
    }

    fn connected(&mut self, result: i32) -> Step {
        if result == 0 {
            self.link = Link::Connected;
            return Step::Continue;
        }
        self.socket = None;
        if is_transient(result) {
            self.link = Link::Unconnected;
            return Step::Continue;
        }
        self.current += 1;
        if self.current < self.addresses.len() {
            self.link = Link::Unconnected;
            return Step::Continue;
        }
        self.current = 0;
        self.rounds += 1;
        if self.rounds >= CONNECT_ROUNDS {
            return Step::Failed(-result);
        }
        self.link = Link::Waiting;
        let pause = FIRST_PAUSE * (1 << (self.rounds - 1));
        if self.addresses.resolved() {
            Step::Resolve(pause, -result)
        } else {
            Step::ConnectAfter(pause, -result)
        }
    }

    fn replied(&mut self, result: i32) -> Step {
        self.reading = false;
        if result > 0 || is_transient(result) {
            return Step::Continue;
        }
        if result < 0 {
            return self.fail(-result);
        }
        self.peer_finished = true;
        if self.link == Link::Finishing { self.confirm() } else { Step::Continue }
    }

    /// Whether the destination has all payload. The end of its stream confirms that if it comes after the half-close. An earlier
    /// end does not; then the acknowledgements of its kernel decide.
    fn confirm(&mut self) -> Step {
        let Some(socket) = &self.socket else { return self.fail(libc::ENOTCONN) };
        match self.confirmation.check(socket, self.address.is_unix(), self.peer_finished) {
            Check::Confirmed => {
                self.link = Link::Confirmed;
                Step::Continue
            }
            Check::Again(pause) => Step::PollAfter(pause),
            Check::Failed(errno) => self.fail(errno),
        }
    }

    fn fail(&mut self, errno: i32) -> Step {
        self.confirmation.failed();
        Step::Failed(errno)
    }

    fn is_unix(&self) -> bool {
        self.address.is_unix()
    }

    /// Sends from the area, where the kernel can.
    fn send_without_copy(&mut self, pool: &Pool) -> Option<(squeue::Entry, SinkOp)> {
        if self.is_unix() {
            return None;
        }
        let fd = self.fd();
        let (header, slot) = self.outbox.lend(pool)?;
        Some((zero_copy::send(fd, header), SinkOp::Send(slot)))
    }
}

impl Sink for Forward {
    fn consume(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow {
        self.outbox.take(buffer, storage)
    }

    fn finish(&mut self) {
        self.finished = true;
    }

    fn next(&mut self, _socket: RawFd, pool: &Pool) -> Option<(squeue::Entry, SinkOp)> {
        match self.link {
            Link::Unconnected => return Some(self.connect()),
            Link::Waiting | Link::Connecting | Link::Confirmed => return None,
            Link::Connected | Link::Finishing => {}
        }
        if !self.reading && !self.peer_finished {
            self.reading = true;
            let read = opcode::Recv::new(self.fd(), self.reply.as_mut_ptr(), REPLY_BYTES as u32);
            return Some((read.build(), SinkOp::Read));
        }
        if self.sending || self.link == Link::Finishing {
            return None;
        }
        if let Some(socket) = self.socket.as_ref().filter(|_| self.is_unix()) {
            self.confirmation.note_read(socket);
        }
        let request = self.send_without_copy(pool).or_else(|| {
            let fd = self.fd();
            let header = ptr::from_ref(self.outbox.list(pool)?);
            let send = opcode::SendMsg::new(fd, header).flags(libc::MSG_NOSIGNAL as u32);
            Some((send.build(), SinkOp::Write))
        });
        self.sending = request.is_some();
        request
    }

    fn completed(&mut self, op: SinkOp, result: i32, storage: &mut Storage<'_>) -> Step {
        match op {
            SinkOp::Connect => self.connected(result),
            SinkOp::Read => self.replied(result),
            SinkOp::Write | SinkOp::Send(_) | SinkOp::Open | SinkOp::Close => {
                self.sending = false;
                match usize::try_from(result) {
                    Ok(bytes) => {
                        self.confirmation.sent(bytes as u64);
                        if matches!(op, SinkOp::Send(_)) {
                            storage.statistics.zero_copy_bytes += bytes as u64;
                        }
                        self.outbox.written(bytes, storage);
                    }
                    Err(_) if is_transient(result) => {}
                    Err(_) if matches!(op, SinkOp::Send(_)) && zero_copy::is_refused(result) => {
                        if storage.pool.set_lends(false) {
                            let errno = errno_name(-result);
                            warn!(
                                errno,
                                "forward_zero_copy has no effect: the kernel refuses to send from the area; use Linux 6.15 or later, or \
                                 leave forward_zero_copy out"
                            );
                        }
                    }
                    Err(_) => return self.fail(-result),
                }
                Step::Continue
            }
        }
    }

    fn released(&mut self, slot: u8, result: i32, storage: &mut Storage<'_>) {
        storage.statistics.zero_copy_copied += u64::from(zero_copy::was_copied(result));
        self.outbox.released(slot, storage);
    }

    fn lending(&self) -> u32 {
        self.outbox.lending()
    }

    fn advance(&mut self) -> Step {
        if self.link != Link::Connected || !self.finished || self.sending || !self.outbox.is_empty() {
            return Step::Continue;
        }
        if let Some(socket) = &self.socket {
            self.confirmation.half_close(socket);
        }
        self.link = Link::Finishing;
        self.confirm()
    }

    fn poll(&mut self) -> Step {
        match self.link {
            Link::Waiting => self.link = Link::Unconnected,
            Link::Finishing => return self.confirm(),
            Link::Unconnected | Link::Connecting | Link::Connected | Link::Confirmed => {}
        }
        Step::Continue
    }

    fn is_done(&self) -> bool {
        self.link == Link::Confirmed
    }

    fn interrupt(&mut self) -> Option<SinkOp> {
        if let Some(socket) = &self.socket {
            if self.lending() > 0 && self.link != Link::Confirmed {
                self.confirmation.abort(socket, self.address.is_unix());
            } else {
                // Fails if the destination has closed the connection first: then the requests end as well.
                socket.shutdown(std::net::Shutdown::Both).ok();
            }
        }
        (self.link == Link::Connecting).then_some(SinkOp::Connect)
    }

    fn keeps_payload(&self) -> bool {
        true
    }

    fn state(&self) -> Option<SinkState> {
        // The kernel may still send from an area that goes away.
        let goes_on = self.lending() == 0 && self.link != Link::Confirmed;
        let confirmation = self.confirmation.state().filter(|_| goes_on)?;
        Some(SinkState::Forward(ForwardState {
            connected: self.socket.is_some(),
            waiting: self.outbox.bytes() as u64,
            finishing: self.link == Link::Finishing,
            peer_finished: self.peer_finished,
            finished: self.finished,
            confirmation,
        }))
    }

    fn take_descriptors(&mut self) -> io::Result<Vec<OwnedFd>> {
        let waiting = self.outbox.leave()?;
        Ok(self.socket.take().map(OwnedFd::from).into_iter().chain(waiting).collect())
    }

    fn unconfirmed(&self) -> u64 {
        if self.link == Link::Confirmed {
            return 0;
        }
        self.outbox.bytes() as u64 + self.confirmation.unacknowledged(self.socket.as_ref(), self.is_unix())
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
}
