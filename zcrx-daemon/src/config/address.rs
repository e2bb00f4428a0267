//! Addresses to listen on.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

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
