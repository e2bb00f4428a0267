//! Accepted connections: their table, their begin and end, and the check for ended ones.

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
    /// No request is in flight: the receive waits for a buffer, for room in the completion queue, or for the sink.
    Waiting,
    /// The stream has ended.
    Ended,
}

/// One accepted connection.
pub(super) struct Connection {
    pub(super) socket: Socket,
    /// Address of the peer, for logs: the kernel no longer reports the address of a connection that was reset.
    pub(super) peer: String,
    pub(super) sink: AnySink,
    pub(super) receive: Receive,
    /// Requests of this connection in flight. A closing connection is removed when there are none.
    pub(super) in_flight: u32,
    /// Whether zcrxd closes the connection: it returns further payload unread.
    pub(super) closing: bool,
    /// Payload bytes that were received and that the sink did not get.
    pub(super) dropped: u64,
    /// Whether zcrxd does not receive from the connection until its sink has caught up.
    pub(super) paused: bool,
    /// Whether the receive had a completion since the last health check.
    pub(super) heard: bool,
    /// Whether the last health check found the connection ended.
    pub(super) hung_up: bool,
    /// Attempts to receive since the last payload.
    pub(super) attempts: Attempts,
}

impl Connection {
    pub(super) fn new(socket: Socket, peer: String, sink: AnySink) -> Self {
        Self {
            socket,
            peer,
            sink,
            receive: Receive::Waiting,
            in_flight: 0,
            closing: false,
            dropped: 0,
            paused: false,
            heard: false,
            hung_up: false,
            attempts: Attempts::default(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Address of a connection's peer.
pub(super) fn peer(socket: &Socket) -> String {
    let address = socket.peer_addr().ok().and_then(|address| address.as_socket());
    address.map_or_else(|| "a peer that is gone".to_owned(), |address| address.to_string())
}
