//! What a battery tests.

use std::net::SocketAddr;
use std::time::Duration;

/// What is tested.
#[derive(Clone, Debug)]
pub struct Target {
    /// Interface, by the kernel's name.
    pub interface: String,
    /// Queue.
    pub queue: u32,
    /// Port on this host that the peer sends to.
    pub port: u16,
    /// Address of `zcrxd send --serve`.
    pub peer: SocketAddr,
    /// Whether the interface may be taken down and up.
    pub link_down: bool,
    /// How long to go on with transfers of random sizes; `None` for none.
    pub soak: Option<Duration>,
}
