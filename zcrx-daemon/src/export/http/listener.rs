//! Sockets that the endpoint listens on: TCP and Unix.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use socket2::Socket;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// A listening socket.
pub struct Listener {
    kind: Kind,
    /// Removed at the end.
    path: Option<PathBuf>,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection, of whatever kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    /// Listens on an address.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        Ok(TcpListener::bind(address).await?.into())
    }

    /// Listens at a path. A socket there on which nobody listens any more is replaced; anything else stays.
    pub fn unix(path: PathBuf) -> io::Result<Self> {
        use std::os::unix::{fs::FileTypeExt, net::UnixStream};
        if fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket())
            && UnixStream::connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            fs::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        Ok(Self { kind: Kind::Unix(listener), path: Some(path) })
    }

    /// Takes a socket that somebody else made and listens on, such as systemd.
    pub fn inherited(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        let kind = if socket.local_addr()?.is_unix() {
            Kind::Unix(UnixListener::from_std(OwnedFd::from(socket).into())?)
        } else {
            Kind::Tcp(TcpListener::from_std(socket.into())?)
        };
        Ok(Self { kind, path: None })
    }

    /// The next connection, and the host it comes from where that can be told.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An answer is written at once; waiting for more to send would only delay it.
                stream.set_nodelay(true).ok();
                Ok((Box::new(stream), Some(peer.ip())))
            }
            Kind::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), None))
            }
        }
    }
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { kind: Kind::Tcp(listener), path: None }
    }
}

impl fmt::Display for Listener {
    /// As part of a URL: `127.0.0.1:9965`, or `unix:` with the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tcp(listener) => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(error) => write!(f, "an address that is not known: {error}"),
            },
            Kind::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                write!(f, "unix:{}", path.map_or_else(String::new, |path| path.display().to_string()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If it stays, the next daemon replaces it.
            fs::remove_file(path).ok();
        }
    }
}
