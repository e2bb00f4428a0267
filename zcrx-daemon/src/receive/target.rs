//! Where a forward sink connects to.

use std::io;
use std::net::ToSocketAddrs;

use socket2::{Domain, SockAddr, Socket, Type};

use super::ReceiveError;
use super::config::Destination;

/// A destination, looked up.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As configured, for people.
    pub(super) name: String,
    pub(super) address: SockAddr,
}

impl Target {
    /// Looks a name up. Blocks as long as that takes.
    pub(super) fn resolve(destination: &Destination) -> Result<Self, ReceiveError> {
        let name = destination.to_string();
        let address = match destination {
            Destination::Unix(path) => SockAddr::unix(path),
            Destination::Tcp(address) => address.to_socket_addrs().and_then(|mut found| {
                found.next().map(SockAddr::from).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
            }),
        };
        match address {
            Ok(address) => Ok(Self { name, address }),
            Err(source) => Err(ReceiveError::Destination { destination: name, source }),
        }
    }

    /// A fresh socket to connect to it with.
    pub(super) fn socket(&self) -> io::Result<Socket> {
        Socket::new(Domain::from(i32::from(self.address.family())), Type::STREAM, None)
    }
}
