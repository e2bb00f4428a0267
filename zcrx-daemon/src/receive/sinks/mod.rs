//! Destinations of payload: one sink per connection, behind one trait.
//!
//! A sink never touches the ring and never blocks. It takes buffers and offers requests; the event loop submits the requests and
//! passes their results to the sink.

mod backlog;
mod confirmation;
mod discard;
mod file;
mod forward;
#[cfg(test)]
mod lending_tests;
mod lent;
mod outbox;
mod verify;
mod zero_copy;

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::squeue;
use serde::{Deserialize, Serialize};

use super::choices::SinkConfig;
use super::pool::{Buffer, Pool};
use super::target::Addresses;
use super::worker::op::SinkOp;
use crate::model::BacklogStatistics;

pub(super) use backlog::Backlog;
use discard::Discard;
use file::{FileSink, FileState};
use forward::{Forward, ForwardState};
use verify::Verify;

/// Resources of the ring that a sink uses while it handles payload.
pub(super) struct Storage<'a> {
    pub(super) pool: &'a mut Pool,
    pub(super) backlog: &'a mut Backlog,
    pub(super) statistics: &'a mut BacklogStatistics,
    pub(super) verified: &'a mut Verified,
    /// Connections that share the backlog.
    pub(super) connections: usize,
}

/// Counters of the comparisons by `verify` sinks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verified {
    pub(super) bytes: u64,
    pub(super) mismatched: u64,
}

/// Next step of a connection whose sink took payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Continue.
    Continue,
    /// Continue, and submit a request if the sink has one.
    Submit,
    /// As `Submit`, but receive nothing until the sink has caught up.
    Pause,
}

/// Result of a sink's request or poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Continue.
    Continue,
    /// Poll the sink again after a pause.
    PollAfter(Duration),
    /// Poll the sink again after a pause, because the destination refused the connection with this errno.
    ConnectAfter(Duration, i32),
    /// All addresses of the destination have failed: its name is resolved again.
    Resolve(Duration, i32),
    /// The sink failed for good, with this positive errno.
    Failed(i32),
}

/// Where a sink stands, for another process that continues it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum SinkState {
    /// There is none yet: no loop has taken the connection.
    None,
    Discard {
        finished: bool,
    },
    Verify(Box<Verify>),
    Forward(ForwardState),
    File(FileState),
}

impl SinkState {
    /// Whether a state from outside this process can be one.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::None | Self::Discard { .. } => true,
            Self::Verify(verify) => verify.is_sound(),
            Self::Forward(forward) => forward.is_sound(),
            Self::File(file) => file.is_sound(),
        }
    }

    /// Payload that waits for it, bytes.
    pub(super) const fn waiting(&self) -> u64 {
        match self {
            Self::None | Self::Discard { .. } | Self::Verify(_) => 0,
            Self::Forward(forward) => forward.waiting(),
            Self::File(file) => file.waiting(),
        }
    }

    /// Number of descriptors that belong to it.
    pub(super) fn descriptors(&self) -> usize {
        match self {
            Self::None | Self::Discard { .. } | Self::Verify(_) => 0,
            Self::Forward(forward) => forward.descriptors(),
            Self::File(file) => file.descriptors(),
        }
    }
}

/// Consumes the payload of one connection.
pub(super) trait Sink {
    /// Takes the payload of one completion. A buffer that the sink keeps goes back to the pool later.
    fn consume(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow;

    /// The stream has ended: no more payload follows.
    fn finish(&mut self);

    /// Returns the next request to submit; `None` if there is none now. The request points to memory of the sink, which neither moves
    /// nor changes before [`Self::completed`].
    fn next(&mut self, socket: RawFd, pool: &Pool) -> Option<(squeue::Entry, SinkOp)>;

    /// A request ended with this result.
    fn completed(&mut self, op: SinkOp, result: i32, storage: &mut Storage<'_>) -> Step;

    /// The kernel does not use the memory of a send without a copy any more: its notification arrived with this result.
    fn released(&mut self, _slot: u8, _result: i32, _storage: &mut Storage<'_>) {}

    /// Number of sends without a copy whose notification is outstanding. They count as requests in flight.
    fn lending(&self) -> u32 {
        0
    }

    /// Takes the next step after payload, the end of the stream, or a result.
    fn advance(&mut self) -> Step {
        Step::Continue
    }

    /// The pause that the sink requested is over.
    fn poll(&mut self) -> Step {
        Step::Continue
    }

    /// Whether all payload has reached its destination, and there is nothing left to do.
    fn is_done(&self) -> bool;

    /// Makes requests end that would not end by themselves. Returns a request to cancel.
    fn interrupt(&mut self) -> Option<SinkOp> {
        None
    }

    /// Whether payload may wait here after it was received.
    fn keeps_payload(&self) -> bool {
        false
    }

    /// Payload bytes that the destination has not confirmed.
    fn unconfirmed(&self) -> u64 {
        0
    }

    /// Where the sink stands, if another process can continue it. Valid while none of its requests is in flight.
    fn state(&self) -> Option<SinkState>;

    /// Takes the descriptors that belong to [`Self::state`], in its order; the sink is of no use afterwards.
    fn take_descriptors(&mut self) -> io::Result<Vec<OwnedFd>> {
        Ok(Vec::new())
    }

    /// Whether a connection that was paused may go on.
    fn has_room(&self, _backlog: &Backlog, _connections: usize) -> bool {
        true
    }

    /// Moves payload from the area to ordinary memory: the area goes away.
    fn leave_area(&mut self, _storage: &mut Storage<'_>) {}

    /// Returns all that it holds.
    fn clear(&mut self, _storage: &mut Storage<'_>) {}

    /// Where payload goes, for people; `None` if the destination is known from the configuration.
    fn describe(&self) -> Option<String> {
        None
    }
}

/// The sinks there are.
pub(super) enum AnySink {
    Discard(Discard),
    Verify(Box<Verify>),
    Forward(Box<Forward>),
    File(Box<FileSink>),
}

impl AnySink {
    /// A sink for a new connection from `peer`. `addresses` are those of a forward sink's destination.
    pub(super) fn new(config: &SinkConfig, peer: &str, addresses: Option<&Arc<Addresses>>) -> Self {
        match (config, addresses) {
            (SinkConfig::Verify, _) => Self::Verify(Box::default()),
            (SinkConfig::File(directory), _) => Self::File(Box::new(FileSink::new(directory, peer))),
            (SinkConfig::Forward(_), Some(addresses)) => {
                Self::Forward(Box::new(Forward::new(Arc::clone(addresses))))
            }
            (SinkConfig::Discard | SinkConfig::Forward(_), _) => Self::Discard(Discard::default()),
        }
    }

    /// Whether it returns each buffer at once, without reading the data.
    #[inline]
    pub(super) const fn discards(&self) -> bool {
        matches!(self, Self::Discard(_))
    }

    /// Continues the sink of another process, with the descriptors that belong to it.
    pub(super) fn restore(
        state: SinkState,
        descriptors: Vec<OwnedFd>,
        peer: &str,
        config: &SinkConfig,
        addresses: Option<&Arc<Addresses>>,
        backlog: &mut Backlog,
    ) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        Ok(match (state, addresses) {
            (SinkState::Discard { finished }, _) => Self::Discard(Discard::new(finished)),
            (SinkState::Verify(verify), _) => Self::Verify(verify),
            (SinkState::Forward(state), Some(addresses)) => {
                let forward = Forward::restore(&state, &mut descriptors, Arc::clone(addresses), backlog)?;
                Self::Forward(Box::new(forward))
            }
            (SinkState::File(state), _) => {
                Self::File(Box::new(FileSink::restore(state, &mut descriptors, backlog)?))
            }
            (SinkState::Forward(_), None) => return Err(io::Error::other("the queue forwards nothing now")),
            (SinkState::None, _) => Self::new(config, peer, addresses),
        })
    }

    /// Gives a forward sink the addresses that its destination has now.
    pub(super) fn readdress(&mut self, addresses: &Arc<Addresses>) {
        if let Self::Forward(forward) = self {
            forward.readdress(Arc::clone(addresses));
        }
    }
}

/// Calls a method of whichever sink it is.
macro_rules! each {
    ($self:ident, $sink:ident => $call:expr) => {
        match $self {
            AnySink::Discard($sink) => $call,
            AnySink::Verify($sink) => $call,
            AnySink::Forward($sink) => $call,
            AnySink::File($sink) => $call,
        }
    };
}

impl Sink for AnySink {
    #[inline]
    fn consume(&mut self, buffer: Buffer, storage: &mut Storage<'_>) -> Flow {
        each!(self, sink => sink.consume(buffer, storage))
    }

    fn finish(&mut self) {
        each!(self, sink => sink.finish());
    }

    fn next(&mut self, socket: RawFd, pool: &Pool) -> Option<(squeue::Entry, SinkOp)> {
        each!(self, sink => sink.next(socket, pool))
    }

    fn completed(&mut self, op: SinkOp, result: i32, storage: &mut Storage<'_>) -> Step {
        each!(self, sink => sink.completed(op, result, storage))
    }

    fn released(&mut self, slot: u8, result: i32, storage: &mut Storage<'_>) {
        each!(self, sink => sink.released(slot, result, storage));
    }

    fn lending(&self) -> u32 {
        each!(self, sink => sink.lending())
    }

    fn advance(&mut self) -> Step {
        each!(self, sink => sink.advance())
    }

    fn poll(&mut self) -> Step {
        each!(self, sink => sink.poll())
    }

    fn is_done(&self) -> bool {
        each!(self, sink => sink.is_done())
    }

    fn interrupt(&mut self) -> Option<SinkOp> {
        each!(self, sink => sink.interrupt())
    }

    fn keeps_payload(&self) -> bool {
        each!(self, sink => sink.keeps_payload())
    }

    fn unconfirmed(&self) -> u64 {
        each!(self, sink => sink.unconfirmed())
    }

    fn state(&self) -> Option<SinkState> {
        each!(self, sink => sink.state())
    }

    fn take_descriptors(&mut self) -> io::Result<Vec<OwnedFd>> {
        each!(self, sink => sink.take_descriptors())
    }

    fn has_room(&self, backlog: &Backlog, connections: usize) -> bool {
        each!(self, sink => sink.has_room(backlog, connections))
    }

    fn leave_area(&mut self, storage: &mut Storage<'_>) {
        each!(self, sink => sink.leave_area(storage));
    }

    fn clear(&mut self, storage: &mut Storage<'_>) {
        each!(self, sink => sink.clear(storage));
    }

    fn describe(&self) -> Option<String> {
        each!(self, sink => sink.describe())
    }
}

/// Whether a request may simply be submitted again after this result.
const fn is_transient(result: i32) -> bool {
    // Cancelled for another ring: that submits the request again. A connection that closes submits nothing any more.
    matches!(-result, libc::EINTR | libc::EAGAIN | libc::ECANCELED)
}
