//! Accepted connections: the table of them, how they come, how they end, and whether they are still alive.

pub(super) mod accept;
pub(super) mod close;
pub(super) mod health;
pub(super) mod placement;
pub(super) mod table;

use std::os::fd::{AsRawFd, RawFd};

use socket2::Socket;

use super::sinks::AnySink;
use super::worker::retry::Attempts;

/// State of a connection's receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// A request is in flight.
    Armed,
    /// None is, but one will be: it waits for a buffer, for room in the completion queue, or for the sink.
    Waiting,
    /// No payload will come.
    Ended,
}

/// One accepted connection.
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) sink: AnySink,
    pub(super) receive: Receive,
    /// Requests in flight that name this connection. It is forgotten when it is closing and there are none.
    pub(super) in_flight: u32,
    /// Of no further use: payload that still comes is returned unread.
    pub(super) closing: bool,
    /// Not received from before its sink has caught up.
    pub(super) paused: bool,
    /// Whether its receive had a completion since the last health check.
    pub(super) heard: bool,
    /// Whether the last health check found it ended.
    pub(super) hung_up: bool,
    /// Attempts to receive since payload last came.
    pub(super) attempts: Attempts,
}

impl Connection {
    pub(super) fn new(socket: Socket, sink: AnySink) -> Self {
        Self {
            socket,
            sink,
            receive: Receive::Waiting,
            in_flight: 0,
            closing: false,
            paused: false,
            heard: false,
            hung_up: false,
            attempts: Attempts::default(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
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
