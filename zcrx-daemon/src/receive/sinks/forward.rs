//! Sink that sends a connection's payload to another socket.
//!
//! Closing a socket that holds unread data resets the connection, and the destination loses what it has not read yet. So the
//! sink reads (and discards) whatever the destination sends, half-closes when all payload is sent, and closes when the
//! destination has answered with its own end. Only then is the payload confirmed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tracing::warn;

use super::outbox::Outbox;
use super::{Backlog, Flow, Sink, SinkState, Step, Storage, is_transient, zero_copy};
use crate::receive::error::errno_name;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::target::Addresses;
use crate::receive::worker::op::SinkOp;

/// Rounds over all addresses before zcrxd closes the connection: about 6 s.
const CONNECT_ROUNDS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Longest time without a confirmation after the half-close.
const CONFIRM_LIMIT: Duration = Duration::from_secs(30);
/// Interval at which unconfirmed bytes are checked at first. It grows to a quarter of the time for which they have not changed: a
/// destination that is slow, or that keeps its end open, costs a few checks and not fifty a second.
const CONFIRM_STEP: Duration = Duration::from_millis(20);
/// Longest interval between two checks of unconfirmed bytes.
const LONGEST_CONFIRM_STEP: Duration = Duration::from_secs(1);

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
    half_closed: bool,
    peer_finished: bool,
    finished: bool,
    sent: u64,
    read: u64,
}

impl ForwardState {
    pub(super) const fn is_sound(&self) -> bool {
        self.read <= self.sent && (self.connected || !(self.finishing || self.half_closed))
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
    /// Bytes that the destination's kernel has not acknowledged, and the time of that number's last change.
    unacknowledged: u64,
    since: Instant,
    /// The half-close counts as one unacknowledged byte of TCP's.
    half_closed: bool,
    /// Bytes that the destination's socket took, and how many of them the destination of a Unix socket had certainly read.
    sent: u64,
    read: u64,
    /// The connection to the destination failed.
    failed: bool,
    /// Bytes without acknowledgement when zcrxd aborted the connection to the destination.
    aborted: Option<u64>,
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
            unacknowledged: 0,
            since: Instant::now(),
            half_closed: false,
            sent: 0,
            read: 0,
            failed: false,
            aborted: None,
        }
    }

    /// Continues the sink of another process.
    pub(super) fn restore(
        state: ForwardState,
        descriptors: &mut impl Iterator<Item = OwnedFd>,
        addresses: Arc<Addresses>,
        backlog: &mut Backlog,
    ) -> io::Result<Self> {
        let mut next = || descriptors.next().ok_or(io::ErrorKind::NotFound);
        let mut forward = Self::new(addresses);
        if state.connected {
            forward.socket = Some(next()?.into());
            forward.link = if state.finishing { Link::Finishing } else { Link::Connected };
        }
        if state.waiting > 0 {
            forward.outbox = Outbox::from_file(next()?, state.waiting, backlog)?;
        }
        let ForwardState { half_closed, peer_finished, finished, sent, read, .. } = state;
        Ok(Self { half_closed, peer_finished, finished, sent, read, ..forward })
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
        let unacknowledged = self.unacknowledged();
        // The kernel sets the error before it drops what the destination has not read, so this check comes after the count.
        // Without a read in flight, nothing else reports the error.
        if let Some(socket) = &self.socket
            && let Ok(Some(error)) = socket.take_error()
        {
            return self.fail(error.raw_os_error().unwrap_or(libc::EIO));
        }
        if self.peer_finished && unacknowledged == 0 {
            self.link = Link::Confirmed;
            return Step::Continue;
        }
        if unacknowledged != self.unacknowledged {
            (self.unacknowledged, self.since) = (unacknowledged, Instant::now());
        }
        let unchanged = self.since.elapsed();
        if unchanged < CONFIRM_LIMIT {
            return Step::PollAfter((unchanged / 4).clamp(CONFIRM_STEP, LONGEST_CONFIRM_STEP));
        }
        // A destination that has acknowledged everything and keeps its connection open has lost nothing.
        if unacknowledged == 0 {
            self.link = Link::Confirmed;
            return Step::Continue;
        }
        self.fail(libc::ETIMEDOUT)
    }

    fn fail(&mut self, errno: i32) -> Step {
        self.failed = true;
        Step::Failed(errno)
    }

    fn is_unix(&self) -> bool {
        self.address.is_unix()
    }

    /// Bytes that zcrxd sent and that the destination has not acknowledged (TCP) or possibly not read (Unix).
    fn unacknowledged(&self) -> u64 {
        if let Some(bytes) = self.aborted {
            return bytes;
        }
        let waiting = self.waiting();
        if !self.is_unix() {
            return waiting.saturating_sub(u64::from(self.half_closed));
        }
        // A Unix socket counts memory, not payload. After a failure its kernel has freed what the destination had not read.
        let unread = self.sent - self.read;
        if self.failed { unread } else { unread.min(waiting) }
    }

    /// Notes that the destination of a Unix socket has read everything, if so. Nothing waits either after the kernel has dropped
    /// what a destination left unread; the socket is hung up by then.
    fn note_read(&mut self) {
        if self.waiting() == 0 && !self.is_hung_up() {
            self.read = self.sent;
        }
    }

    fn is_hung_up(&self) -> bool {
        let Some(socket) = &self.socket else { return true };
        // Without requested events, poll reports only errors and hang-ups.
        let mut polled = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        poll(&mut polled, PollTimeout::ZERO).is_err() || polled[0].any() != Some(false)
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

    /// Drops what the destination has not acknowledged, with a reset. A destination that no longer answers would occupy the
    /// buffers until TCP gives up, which takes a quarter of an hour.
    fn abort(&mut self) {
        let Some(socket) = &self.socket else { return };
        self.aborted = Some(self.unacknowledged());
        zero_copy::disconnect(socket);
    }

    /// The kernel's count of what waits for the destination.
    fn waiting(&self) -> u64 {
        let Some(socket) = &self.socket else { return 0 };
        let mut bytes: libc::c_int = 0;
        // SAFETY: the kernel writes one int, which lives long enough.
        let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        // If the kernel does not report it, the number counts as 0.
        if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
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
        if self.is_unix() {
            self.note_read();
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
                        self.sent += bytes as u64;
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
            // Fails if the destination is gone: the read reports that.
            self.half_closed = socket.shutdown(std::net::Shutdown::Write).is_ok();
        }
        self.link = Link::Finishing;
        self.since = Instant::now();
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
        if self.lending() > 0 && self.link != Link::Confirmed {
            self.abort();
        } else if let Some(socket) = &self.socket {
            // Fails if the destination has closed the connection first: then the requests end as well.
            socket.shutdown(std::net::Shutdown::Both).ok();
        }
        (self.link == Link::Connecting).then_some(SinkOp::Connect)
    }

    fn keeps_payload(&self) -> bool {
        true
    }

    fn state(&self) -> Option<SinkState> {
        // The kernel may still send from an area that goes away.
        let lost = self.failed || self.aborted.is_some() || self.link == Link::Confirmed;
        (!lost && self.lending() == 0).then(|| {
            SinkState::Forward(ForwardState {
                connected: self.socket.is_some(),
                waiting: self.outbox.bytes() as u64,
                finishing: self.link == Link::Finishing,
                half_closed: self.half_closed,
                peer_finished: self.peer_finished,
                finished: self.finished,
                sent: self.sent,
                read: self.read,
            })
        })
    }

    fn take_descriptors(&mut self) -> io::Result<Vec<OwnedFd>> {
        let waiting = (self.outbox.bytes() > 0).then(|| self.outbox.to_file()).transpose()?;
        Ok(self.socket.take().map(OwnedFd::from).into_iter().chain(waiting).collect())
    }

    fn unconfirmed(&self) -> u64 {
        if self.link == Link::Confirmed { 0 } else { self.outbox.bytes() as u64 + self.unacknowledged() }
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
