//! Destinations of forward sinks.

use std::io;
use std::net::ToSocketAddrs;

use socket2::SockAddr;

use super::ReceiveError;
use super::choices::Destination;

/// All addresses of a destination. Never empty.
#[derive(Debug)]
pub(super) struct Addresses {
    addresses: Vec<SockAddr>,
    /// Whether a resolver returned them, and may return others later.
    resolved: bool,
}

impl Addresses {
    /// Resolves a destination to all its addresses. Blocks as long as the resolver takes.
    pub(super) fn resolve(destination: &Destination) -> io::Result<Self> {
        match destination {
            Destination::Unix(path) => Ok(Self { addresses: vec![SockAddr::unix(path)?], resolved: false }),
            Destination::Tcp(name) => {
                let addresses: Vec<_> = name.to_socket_addrs()?.map(SockAddr::from).collect();
                if addresses.is_empty() {
                    return Err(io::ErrorKind::AddrNotAvailable.into());
                }
                Ok(Self { addresses, resolved: true })
            }
        }
    }

    /// As [`Self::resolve`], with an error message for the user.
    pub(super) fn resolve_at_start(destination: &Destination) -> Result<Self, ReceiveError> {
        Self::resolve(destination)
            .map_err(|source| ReceiveError::Destination { destination: destination.to_string(), source })
    }

    /// Number of addresses.
    pub(super) const fn len(&self) -> usize {
        self.addresses.len()
    }

    /// The address to try first.
    pub(super) fn first(&self) -> SockAddr {
        self.get(0)
    }

    /// An address by index, counted modulo their number.
    pub(super) fn get(&self, index: usize) -> SockAddr {
        self.addresses[index % self.addresses.len()].clone()
    }

    /// Whether resolving again can give other addresses.
    pub(super) const fn resolved(&self) -> bool {
        self.resolved
    }
}
