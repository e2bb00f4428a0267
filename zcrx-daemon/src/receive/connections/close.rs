//! Ends connections without losing data that TCP has acknowledged to the sender.
//!
//! TCP acknowledges payload before zcrxd receives it. Therefore zcrxd first shuts the socket down, after which the kernel
//! acknowledges nothing more, and then receives the data that waits in it.

use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::Socket;
use tracing::warn;

use super::{Connection, Receive, peer};

/// State of a socket whose peer has sent its FIN: nothing more will come. `TCP_CLOSE_WAIT` of the kernel.
const TCP_CLOSE_WAIT: u8 = 8;

impl Connection {
    /// Makes the stream end after the data that the kernel has acknowledged so far. Sinks get that data as usual.
    pub(in crate::receive) fn cut(&self) {
        if !self.has_finished() {
            end(&self.socket);
        }
    }

    /// Ends both directions of the connection.
    pub(in crate::receive) fn shut_down(&self) {
        if self.has_finished() {
            // A verdict may be on its way. Fails if the peer has closed the connection first: then the requests end as well.
            self.socket.shutdown(Shutdown::Both).ok();
        } else {
            end(&self.socket);
        }
    }

    /// Whether the peer sends nothing more.
    fn has_finished(&self) -> bool {
        self.receive == Receive::Ended || peer_has_finished(&self.socket)
    }

    /// Acknowledged bytes that did not reach the destination. Valid once all requests of the connection have ended.
    pub(in crate::receive) fn lost(&self) -> u64 {
        use crate::receive::sinks::Sink;
        self.sink.unconfirmed() + self.dropped + unread(&self.socket)
    }
}

/// Ends both directions of a socket whose peer may have more to send. What the kernel has acknowledged can still be received.
///
/// After the shutdown the kernel sends no window update. A sender whose window is closed would wait until the kernel forgets the
/// socket, which takes minutes. Therefore closing the socket resets the connection.
fn end(socket: &Socket) {
    // Both fail if the peer has closed the connection first: then nothing more is acknowledged either.
    socket.shutdown(Shutdown::Both).ok();
    socket.set_linger(Some(Duration::ZERO)).ok();
}

/// Ends a connection that gets no sink. Returns the number of bytes that the kernel has acknowledged and that are lost, and logs
/// them.
pub(in crate::receive) fn refuse(queue: &str, socket: &Socket) -> u64 {
    // The kernel may no longer report the address of a connection that has ended.
    let peer = peer(socket);
    end(socket);
    let lost = unread(socket);
    if lost > 0 {
        warn!(
            queue,
            peer, lost, "connection refused: TCP acknowledged {lost} bytes that zcrxd did not receive"
        );
    }
    lost
}

/// Whether the peer's FIN has arrived, read or not.
fn peer_has_finished(socket: &Socket) -> bool {
    let mut state = 0_u8;
    let mut length = size_of::<u8>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes of `struct tcp_info`, of which the first is the state.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    result == 0 && state == TCP_CLOSE_WAIT
}

/// Bytes in the socket that zcrxd has not received.
fn unread(socket: &Socket) -> u64 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int, which lives long enough.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if result == 0 { u64::try_from(bytes).unwrap_or(0) } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::receive::sinks::AnySink;

    /// A connection whose sink keeps nothing.
    fn discarding(socket: Socket) -> Connection {
        let sink = AnySink::new(&crate::receive::SinkConfig::Discard, "peer", None);
        Connection::new(socket, "peer".to_owned(), sink)
    }

    #[test]
    fn cut_connection_still_delivers_what_was_acknowledged() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        let (mut receiver, _) = listener.accept()?;
        sender.write_all(b"acknowledged")?;
        receiver.peek(&mut [0; 1])?;
        let socket = Socket::from(receiver.try_clone()?);
        let connection = discarding(socket);
        connection.cut();
        assert_eq!(connection.lost(), 12);
        let mut received = String::new();
        receiver.read_to_string(&mut received)?;
        assert_eq!((received.as_str(), connection.lost()), ("acknowledged", 0));
        // The kernel refuses data that arrives now, and does not acknowledge it.
        sender.write_all(b"late").ok();
        assert!(sender.read(&mut [0; 1]).is_ok_and(|end| end == 0) || sender.write_all(b"later").is_err());
        assert_eq!(connection.lost(), 0);
        Ok(())
    }

    /// The receiver's window is closed when zcrxd shuts the socket down, and the kernel does not open it again.
    #[test]
    fn sender_without_a_window_learns_of_the_end_at_once() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        socket2::SockRef::from(&listener).set_recv_buffer_size(64 << 10)?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        let (receiver, _) = listener.accept()?;
        sender.set_nonblocking(true)?;
        let piece = vec![7; 65536];
        let fill = |mut sender: &TcpStream| while sender.write(&piece).is_ok() {};
        fill(&sender);
        // The kernel uses the rest of a window that is smaller than a packet only after a while.
        let (mut waiting, mut unchanged) = (0, 0);
        while unchanged < 5 {
            std::thread::sleep(Duration::from_millis(200));
            fill(&sender);
            let now = unread(&Socket::from(receiver.try_clone()?));
            unchanged = if now == waiting { unchanged + 1 } else { 0 };
            waiting = now;
        }
        let connection = discarding(Socket::from(receiver.try_clone()?));
        connection.cut();
        let mut receiver = receiver;
        assert_eq!(std::io::copy(&mut receiver, &mut std::io::sink())?, waiting);
        drop((receiver, connection));
        sender.set_nonblocking(false)?;
        sender.set_write_timeout(Some(Duration::from_secs(10)))?;
        let error = loop {
            if let Err(error) = (&sender).write(&piece) {
                break error;
            }
        };
        let expected = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
        assert!(expected.contains(&error.kind()), "{error}");
        Ok(())
    }

    #[test]
    fn refused_connection_counts_and_logs_what_was_acknowledged() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let refused = |bytes: &[u8]| {
            let mut sender = TcpStream::connect(listener.local_addr()?)?;
            let (receiver, peer) = listener.accept()?;
            sender.write_all(bytes)?;
            if !bytes.is_empty() {
                receiver.peek(&mut [0; 1])?;
            }
            let mut lost = 0;
            let log = logged(|| lost = refuse("eth0:3", &Socket::from(receiver)))?;
            std::io::Result::Ok((lost, log, peer))
        };
        let (lost, log, peer) = refused(b"acknowledged")?;
        assert_eq!(lost, 12);
        for field in ["queue=\"eth0:3\"".to_owned(), format!("peer=\"{peer}\""), "lost=12".to_owned()] {
            assert!(log.contains(&field), "no {field}: {log}");
        }
        let (lost, log, _) = refused(b"")?;
        assert_eq!((lost, log.as_str()), (0, ""), "nothing is lost");
        Ok(())
    }

    /// Returns what a task logs.
    fn logged(task: impl FnOnce()) -> std::io::Result<String> {
        let (mut reader, writer) = std::io::pipe()?;
        let subscriber = tracing_subscriber::fmt().with_writer(Arc::new(writer)).with_ansi(false).finish();
        tracing::subscriber::with_default(subscriber, task);
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn stream_that_ended_by_itself_is_not_cut() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        let (receiver, _) = listener.accept()?;
        sender.write_all(b"all")?;
        sender.shutdown(Shutdown::Write)?;
        while !peer_has_finished(&Socket::from(receiver.try_clone()?)) {
            std::thread::yield_now();
        }
        let connection = discarding(Socket::from(receiver.try_clone()?));
        connection.cut();
        let mut receiver = receiver;
        receiver.write_all(b"verdict")?;
        let mut verdict = [0; 7];
        sender.read_exact(&mut verdict)?;
        assert_eq!(&verdict, b"verdict");
        Ok(())
    }
}
