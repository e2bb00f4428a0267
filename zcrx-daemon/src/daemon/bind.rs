//! Sockets of the web endpoint.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on web address {address}: {source}; {}", mend(source, *address))]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// Binds every address, or none.
pub(super) async fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, BindError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        listeners.push(TcpListener::bind(address).await.map_err(|source| BindError { address, source })?);
    }
    Ok(listeners)
}

fn mend(error: &io::Error, address: SocketAddr) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("`ss -ltnp 'sport = :{port}'` shows who does, --web.listen-address names another")
        }
        io::ErrorKind::PermissionDenied => format!(
            "ports below {} need CAP_NET_BIND_SERVICE, --web.listen-address names another",
            unprivileged_ports().map_or_else(|| "1024".to_owned(), |first| first.to_string())
        ),
        io::ErrorKind::AddrNotAvailable => {
            "no interface has it: `ip address` lists those there are, --web.listen-address names another"
                .to_owned()
        }
        _ => "--web.listen-address names another".to_owned(),
    }
}

fn unprivileged_ports() -> Option<u16> {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok()?.trim().parse().ok()
}
