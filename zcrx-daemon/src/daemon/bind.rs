//! Sockets of the web endpoint.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::config::{Web, WebAddress};
use crate::export::http::Listener;

/// Why the web endpoint cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// An IP address.
    #[error("cannot listen on web address {address}: {source}; {}", remedy(source, *address))]
    Address {
        /// The address.
        address: SocketAddr,
        /// Error of the system.
        source: io::Error,
    },
    /// A Unix socket.
    #[error("cannot listen on unix:{}: {source}; its folder must exist and be writable for this user", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// A socket from systemd.
    #[error("cannot listen on the sockets from systemd: {source}")]
    Inherited {
        /// Error of the system.
        source: io::Error,
    },
    /// systemd passed no socket.
    #[error(
        "systemd passed no socket: enable zcrxd.socket, or remove systemd_socket from [web] (--web.systemd-socket)"
    )]
    NothingInherited,
}

/// Binds every address, or none. `inherited` are the sockets that systemd passed.
pub(super) async fn bind_all(web: &Web, inherited: Vec<OwnedFd>) -> Result<Vec<Listener>, BindError> {
    if web.systemd_socket {
        return inherit(inherited);
    }
    let mut listeners = Vec::with_capacity(web.listen.len());
    for address in &web.listen {
        listeners.push(match address {
            WebAddress::Ip(address) => Listener::tcp(*address)
                .await
                .map_err(|source| BindError::Address { address: *address, source })?,
            WebAddress::Unix(path) => Listener::unix(path.clone())
                .map_err(|source| BindError::Path { path: path.clone(), source })?,
        });
    }
    Ok(listeners)
}

/// Takes the sockets from systemd.
fn inherit(sockets: Vec<OwnedFd>) -> Result<Vec<Listener>, BindError> {
    let failed = |source| BindError::Inherited { source };
    let listeners = sockets
        .into_iter()
        .map(|socket| Listener::inherited(socket).map_err(failed))
        .collect::<Result<Vec<_>, _>>()?;
    if listeners.is_empty() { Err(BindError::NothingInherited) } else { Ok(listeners) }
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
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
