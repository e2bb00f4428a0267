//! Addresses to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// An address of the web endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WebAddress {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl WebAddress {
    /// The IP address and port, if it has one.
    pub(super) const fn ip(&self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The longest path of a Unix socket, in bytes: `sun_path` with its terminating zero has 108.
const LONGEST_PATH: usize = 107;

/// Parses what [`parse_address`] does, `localhost:PORT` for IPv4's loopback, and `unix:PATH`.
pub(super) fn parse_web_address(text: &str) -> Result<WebAddress, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.len() > LONGEST_PATH => Err(format!(
            "the path of {text:?} has {} bytes, and a socket's path at most {LONGEST_PATH}",
            path.len()
        )),
        Some(path) if path.starts_with('/') => Ok(WebAddress::Unix(path.into())),
        Some(_) => Err(format!("{text:?} names no absolute path")),
        None => match text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
            Some(port) => Ok(WebAddress::Ip((Ipv4Addr::LOCALHOST, port).into())),
            None => parse_address(text).map(WebAddress::Ip),
        },
    }
}

/// Accepted forms of an address of the web endpoint.
pub(super) const WEB_FORMS: &str =
    "write IP:PORT as in 127.0.0.1:7000 or [::1]:7000, :7000 for every address, or unix:/PATH";

/// Parses `127.0.0.1:7000`, `[::1]:7000`, or `:7000` for every address of the host.
///
/// Names are refused: their addresses may change, and a daemon should listen on the configured address.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    text.parse().map_err(|_| format!("{text:?} is not an address to listen on"))
}

/// Whether two sockets cannot listen on these addresses at once: same port, and the same address or one that includes it.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let includes = |wide: SocketAddr, narrow: SocketAddr| match wide.ip() {
        // Listens on IPv4 too.
        IpAddr::V6(v6) => v6.is_unspecified(),
        IpAddr::V4(v4) => v4.is_unspecified() && narrow.is_ipv4(),
    };
    one.port() != 0
        && one.port() == other.port()
        && (one.ip() == other.ip() || includes(one, other) || includes(other, one))
}

/// Accepted forms of an address, for error messages.
pub(super) const FORMS: &str = "write IP:PORT as in 127.0.0.1:7000 or [::1]:7000, or :7000 for every address";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_addresses_include_localhost_and_paths_that_fit() {
        assert_eq!(parse_web_address("localhost:9965"), Ok(WebAddress::Ip(([127, 0, 0, 1], 9965).into())));
        let path = |length: usize| format!("unix:/{}", "a".repeat(length - 1));
        assert!(parse_web_address(&path(LONGEST_PATH)).is_ok());
        assert!(parse_web_address(&path(LONGEST_PATH + 1)).is_err_and(|said| said.contains("107")));
        assert!(
            parse_web_address("vsock://:9965").is_err(),
            "exporter-toolkit's address of a virtual machine"
        );
    }

    /// Whether two listening sockets exclude each other.
    #[test]
    fn addresses_collide_by_port_and_reach() {
        let collides = |one: &str, other: &str| {
            collide(parse_address(one).expect("an address"), parse_address(other).expect("an address"))
        };
        assert!(collides("0.0.0.0:9965", "127.0.0.1:9965"));
        assert!(collides(":9965", "127.0.0.1:9965"));
        assert!(collides("[::1]:9965", ":9965"));
        assert!(!collides("127.0.0.1:9965", "127.0.0.2:9965"));
        assert!(!collides("0.0.0.0:9965", "[::1]:9965"));
        assert!(!collides("127.0.0.1:9965", "127.0.0.1:9966"));
        assert!(!collides("127.0.0.1:0", "127.0.0.1:0"), "port 0 is a new port each time");
    }

    #[test]
    fn forms() {
        assert_eq!(parse_address("127.0.0.1:7000"), Ok(([127, 0, 0, 1], 7000).into()));
        assert_eq!(parse_address("[::1]:7000"), Ok((Ipv6Addr::LOCALHOST, 7000).into()));
        assert_eq!(parse_address(":7000"), Ok((Ipv6Addr::UNSPECIFIED, 7000).into()));
        for wrong in ["", ":", "7000", "127.0.0.1", "127.0.0.1:65536", "localhost:7000", ":-1"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }
}
