//! One accepted connection.

use socket2::Socket;

use super::file::FileSink;
use super::forward::Forward;
use super::outbox::Outbox;
use crate::receive::pattern::Verifier;

/// How a connection's receive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// A request is in flight.
    Armed,
    /// None is, but one will be: a buffer is waited for, or room in the completion queue, or the sink.
    Waiting,
    /// No data will come.
    Ended,
}

/// Where a connection's data goes.
pub(super) enum Sink {
    Discard,
    Verify(Box<Verify>),
    Forward(Box<Forward>),
    File(Box<FileSink>),
}

impl Sink {
    /// What waits in it; `None` for a sink that never keeps anything waiting.
    pub(super) fn outbox(&mut self) -> Option<&mut Outbox> {
        match self {
            Self::Discard | Self::Verify(_) => None,
            Self::Forward(forward) => Some(&mut forward.outbox),
            Self::File(file) => Some(&mut file.outbox),
        }
    }
}

/// The state of a verified stream.
#[derive(Default)]
pub(super) struct Verify {
    pub(super) verifier: Verifier,
    /// The verdict's line, once the stream has ended.
    pub(super) line: Vec<u8>,
    /// How much of it is sent, bytes.
    pub(super) sent: usize,
}

/// One accepted connection.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) receive: Receive,
    pub(super) sink: Sink,
    /// Requests in flight that name this connection. It is forgotten when it is closing and there are none.
    pub(super) in_flight: u32,
    /// Of no further use: what still comes is given back unread.
    pub(super) closing: bool,
    /// Not to be received from before its sink has caught up.
    pub(super) paused: bool,
    /// Whether its receive had a completion since silent connections were last looked for.
    pub(super) heard: bool,
    /// Whether it was found to have ended when it was last asked.
    pub(super) hung_up: bool,
}

impl Connection {
    pub(super) const fn new(socket: Socket, sink: Sink) -> Self {
        Self {
            socket,
            receive: Receive::Ended,
            sink,
            in_flight: 0,
            closing: false,
            paused: false,
            heard: false,
            hung_up: false,
        }
    }

    /// The other end, for logs.
    pub(super) fn peer(&self) -> String {
        peer(&self.socket)
    }
}

/// The other end of a connection.
pub(super) fn peer(socket: &Socket) -> String {
    let address = socket.peer_addr().ok().and_then(|address| address.as_socket());
    address.map_or_else(|| "a peer that is gone".to_owned(), |address| address.to_string())
}
