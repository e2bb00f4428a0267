//! Addresses to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// A place where the web endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WebAddress {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Parses what [`parse_address`] does, and `unix:PATH`.
pub(super) fn parse_web_address(text: &str) -> Result<WebAddress, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(WebAddress::Unix(path.into())),
        Some(_) => Err(format!("{text:?} names no absolute path")),
        None => parse_address(text).map(WebAddress::Ip),
    }
}

/// What an address of the web endpoint looks like.
pub(super) const WEB_FORMS: &str =
    "write IP:PORT as in 127.0.0.1:7000 or [::1]:7000, :7000 for every address, or unix:/PATH";

/// Parses `127.0.0.1:7000`, `[::1]:7000`, or `:7000` for every address of the host.
///
/// Names are refused: what they resolve to may change, and a daemon should listen where it was told.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    text.parse().map_err(|_| format!("{text:?} is not an address to listen on"))
}

/// What an address looks like, for the one who wrote something else.
pub(super) const FORMS: &str = "write IP:PORT as in 127.0.0.1:7000 or [::1]:7000, or :7000 for every address";

#[cfg(test)]
mod tests {
    use super::*;

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
