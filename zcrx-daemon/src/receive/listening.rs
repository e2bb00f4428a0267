//! Listening sockets, and the place where they outlive zcrxd.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::SockRef;

/// Keeps listening sockets while no zcrxd runs: the kernel completes handshakes, and connections wait until the next zcrxd
/// accepts them.
pub trait ListenerStore: Send + Sync {
    /// Whether what is kept outlives the process.
    fn outlives(&self) -> bool;

    /// Returns the socket that an earlier process bound to the address; `None` if there is none.
    fn take(&self, address: SocketAddr) -> Option<TcpListener>;

    /// Keeps a copy of a socket that is bound to the address.
    fn keep(&self, address: SocketAddr, listener: &TcpListener);

    /// Closes the copy: no queue listens on the address any more.
    fn forget(&self, address: SocketAddr);
}

/// Takes a listener from the store, or creates one and keeps it there. A listener on port 0 is not kept: the kernel chooses another
/// port for the next one.
///
/// TCP keepalive ends connections whose peer disappears. Without keepalive a receiver would not notice that, because it sends no
/// data. The host's `net.ipv4.tcp_keepalive_time` sets the time. As many connections wait to be accepted as the host's
/// `net.core.somaxconn` permits.
pub(super) fn listen(address: SocketAddr, store: Option<&dyn ListenerStore>) -> io::Result<TcpListener> {
    let store = store.filter(|_| address.port() != 0);
    if let Some(listener) = store.and_then(|store| store.take(address)) {
        reopen(&listener)?;
        return Ok(listener);
    }
    let listener = TcpListener::bind(address)?;
    let socket = SockRef::from(&listener);
    socket.set_keepalive(true)?;
    // The standard library asks for 128, which a restart or a busy second can exceed. The kernel lowers this to the host's limit.
    socket.listen(i32::MAX)?;
    if let Some(store) = store {
        store.keep(address, &listener);
    }
    Ok(listener)
}

/// Undoes what a stop did to the socket: an earlier zcrxd may have ended in the middle of its stop.
fn reopen(listener: &TcpListener) -> io::Result<()> {
    match SockRef::from(listener).detach_filter() {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
        _ => {}
    }
    listener.set_nonblocking(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::sync::Mutex;

    use super::*;
    use crate::receive::connections::accept;

    /// A store in this process.
    #[derive(Default)]
    struct Shelf(Mutex<Vec<(SocketAddr, TcpListener)>>);

    impl ListenerStore for Shelf {
        fn outlives(&self) -> bool {
            true
        }

        fn take(&self, address: SocketAddr) -> Option<TcpListener> {
            let kept = self.0.lock().expect("no thread panicked");
            kept.iter().find(|(bound, _)| *bound == address).and_then(|(_, kept)| kept.try_clone().ok())
        }

        fn keep(&self, address: SocketAddr, listener: &TcpListener) {
            let copy = listener.try_clone().expect("a descriptor is free");
            self.0.lock().expect("no thread panicked").push((address, copy));
        }

        fn forget(&self, address: SocketAddr) {
            self.0.lock().expect("no thread panicked").retain(|(bound, _)| *bound != address);
        }
    }

    /// Without the undoing, a connect would wait for its answer until the limit.
    #[test]
    fn kept_listener_accepts_again_after_a_stop() -> io::Result<()> {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let store = Shelf::default();
        let first = listen(free, Some(&store))?;
        assert!(accept::drain(&first).is_empty());
        drop(first);
        let second = listen(free, Some(&store))?;
        let client = TcpStream::connect_timeout(&free, LIMIT)?;
        let (accepted, peer) = second.accept()?;
        assert_eq!((peer, accepted.peer_addr()?), (client.local_addr()?, client.local_addr()?));
        store.forget(free);
        drop(second);
        assert!(TcpStream::connect_timeout(&free, LIMIT).is_err(), "nobody listens any more");
        Ok(())
    }

    #[test]
    fn listener_on_any_port_is_not_kept() -> io::Result<()> {
        let store = Shelf::default();
        listen(SocketAddr::from(([127, 0, 0, 1], 0)), Some(&store))?;
        assert!(store.0.lock().expect("no thread panicked").is_empty());
        Ok(())
    }
}
