//! What waits in the sockets that a queue feeds.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What waits in receiving sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketBacklog {
    /// Number of sockets that the snapshot read.
    pub sockets: u32,
    /// In-order payload that the owner has not received, bytes. Out-of-order data is not included.
    pub unread_bytes: u64,
    /// Sum of their receive buffer limits, bytes.
    pub limit_bytes: u64,
    /// Sockets on which a receive of the queue (`IORING_OP_RECV_ZC`) is armed.
    #[serde(default)]
    pub armed: Option<u32>,
    /// Part of [`Self::unread_bytes`] in sockets on which no receive is armed: the owner does not receive it.
    #[serde(default)]
    pub unarmed_unread_bytes: Option<u64>,
    /// Memory that the sockets account for (`sk_rmem_alloc`), bytes: unread and out-of-order data, with overhead. All of this data
    /// occupies buffers.
    #[serde(default)]
    pub buffered_bytes: Option<u64>,
    /// Buffers in which that data lies, by what the first packet of each socket occupies; `None` where this kernel's types do not say,
    /// or no packet was there to look at.
    #[serde(default)]
    pub buffers: Option<u64>,
}

/// A connected TCP socket in which data waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopSocket {
    /// Process that has it open, in the initial pid namespace.
    pub pid: u32,
    /// Its descriptor there; `None` for one that was met among the files registered with a ring.
    pub fd: Option<u32>,
    /// Local port.
    pub port: u16,
    /// The peer.
    pub peer: SocketAddr,
    /// In-order payload that the owner has not received, bytes.
    pub unread_bytes: u64,
    /// Memory that it accounts for received data, out-of-order data included (`sk_rmem_alloc`), bytes; `None` where this kernel's types
    /// do not say.
    pub buffered_bytes: Option<u64>,
    /// Whether a receive of the queue is armed on it; `None` where this kernel's types do not say.
    pub armed: Option<bool>,
}

impl TopSocket {
    /// The data that waits in it, in order or not, bytes: what sockets are ordered by.
    pub fn waiting(&self) -> u64 {
        self.unread_bytes.max(self.buffered_bytes.unwrap_or(0))
    }
}

impl fmt::Display for TopSocket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "port {} from {}", self.port, self.peer)?;
        match self.fd {
            Some(fd) => write!(out, " (descriptor {fd})"),
            None => Ok(()),
        }
    }
}
