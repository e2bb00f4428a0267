//! Sockets that the endpoint listens on: TCP and Unix.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
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

/// A connection whose first byte is known, and still to be read.
pub(super) struct Peeked {
    first: Option<u8>,
    stream: Box<dyn Stream>,
}

impl Peeked {
    /// Waits for the first byte; at the end of the stream there is none.
    pub(super) async fn new(mut stream: Box<dyn Stream>) -> io::Result<Self> {
        let mut first = [0];
        let read = stream.read(&mut first).await?;
        Ok(Self { first: (read > 0).then_some(first[0]), stream })
    }

    /// Whether this looks like the begin of an HTTP request: a letter. A TLS record begins with another byte.
    pub(super) fn is_plain_http(&self) -> bool {
        self.first.is_some_and(|first| first.is_ascii_alphabetic())
    }
}

impl AsyncRead for Peeked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Peeked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}

impl Listener {
    /// Listens on an address.
    pub async fn tcp(address: SocketAddr) -> io::Result<Self> {
        let bound = if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            every_address(address)
        } else {
            TcpListener::bind(address).await
        };
        Ok(bound?.into())
    }

    /// Listens at a path. A socket there without a listener is replaced; anything else stays.
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

    /// Takes a listening socket from another process such as systemd.
    pub fn inherited(socket: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(socket);
        if socket.r#type()? != Type::STREAM || !socket.is_listener()? {
            return Err(io::Error::other(
                "it is no listening stream socket; write ListenStream= and Accept=no in the .socket unit",
            ));
        }
        socket.set_nonblocking(true)?;
        let kind = if socket.local_addr()?.is_unix() {
            Kind::Unix(UnixListener::from_std(OwnedFd::from(socket).into())?)
        } else {
            Kind::Tcp(TcpListener::from_std(socket.into())?)
        };
        Ok(Self { kind, path: None })
    }

    /// The next connection, and its host where that is known.
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

/// Listens on every address, IPv4 included whatever `net.ipv6.bindv6only` says; where this host has no IPv6, on every IPv4
/// address.
fn every_address(address: SocketAddr) -> io::Result<TcpListener> {
    let listen = |domain, address: SocketAddr| {
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1024)?;
        TcpListener::from_std(socket.into())
    };
    match listen(Domain::IPV6, address) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)) => {
            listen(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        listener => listener,
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
