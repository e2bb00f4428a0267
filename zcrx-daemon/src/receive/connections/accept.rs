//! New connections: from the listeners, from the threads of other queues, and from the group's leader.

use std::io::ErrorKind;
use std::iter;
use std::mem;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};
use socket2::{SockFilter, SockRef, Socket};
use tracing::warn;

use super::peer;
use super::placement::{Arrival, HardwareQueue, Placement};
use crate::receive::plan::Plan;
use crate::receive::stats::Counters;
use crate::receive::worker::op::Op;
use crate::receive::worker::requests::Requests;

/// Pause after an accept failed because files or memory were short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Interval between log lines about refused or misplaced connections.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Result of an accept request's completion.
pub(in crate::receive) enum Accepted {
    /// A connection.
    Connection(Socket),
    /// The accept failed with this positive errno.
    Failed(i32),
}

/// What a listener does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receive) enum Rearm {
    /// Its request continues.
    NotNeeded,
    Now,
    After(Duration),
}

/// Reads the completion of an accept request.
pub(in crate::receive) fn accepted(result: i32, more: bool) -> (Accepted, Rearm) {
    let accepted = if result >= 0 {
        // SAFETY: the kernel created the descriptor for this completion, and no other code owns it.
        Accepted::Connection(Socket::from(unsafe { OwnedFd::from_raw_fd(result) }))
    } else {
        Accepted::Failed(-result)
    };
    let rearm = match -result {
        _ if more => Rearm::NotNeeded,
        // The peer has closed the connection already, or the error is harmless.
        ..=0 | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN => Rearm::Now,
        _ => Rearm::After(ACCEPT_PAUSE),
    };
    (accepted, rearm)
}

/// Queues the multishot request that accepts from a listener. Returns whether there is that listener.
pub(in crate::receive) fn arm(listeners: &[TcpListener], listener: u32, requests: &mut Requests) -> bool {
    let Some(socket) = listeners.get(listener as usize) else { return false };
    let entry = opcode::AcceptMulti::new(types::Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
    // SAFETY: the request points to nothing.
    unsafe { requests.push(entry, Op::Accept(listener)) };
    true
}

/// Starts no further connection on a listener. Returns those that wait in its queue: the kernel has acknowledged data of theirs
/// already. A handshake that is under way may still add one.
pub(in crate::receive) fn drain(listener: &TcpListener) -> Vec<Socket> {
    const FLAGS: u32 = 13;
    const SYN: u32 = 2;
    let step = |code: u32, jump, k| SockFilter::new(code as u16, jump, 0, k);
    // Classic BPF program that drops each packet with SYN. Others pass: the listener resets connections that are gone.
    let drop_syn = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, FLAGS),
        step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),
        step(libc::BPF_RET | libc::BPF_K, 0, 0),
    ];
    // Without the filter (the host refuses it), connections that begin between the last accept and the close are reset.
    SockRef::from(listener).attach_filter(&drop_syn).ok();
    if listener.set_nonblocking(true).is_err() {
        return Vec::new();
    }
    let next = || loop {
        match listener.accept() {
            Ok((stream, _)) => return Some(Socket::from(stream)),
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
            Err(_) => return None,
        }
    };
    iter::from_fn(next).collect()
}

/// Decides which thread an accepted connection belongs to.
#[derive(Default)]
pub(in crate::receive) struct Acceptor {
    placement: Placement,
    /// Connections that wait until a helper has read the host's queues.
    unplaced: Vec<Socket>,
    logged: Option<Instant>,
}

impl Acceptor {
    /// Returns a connection that belongs to this thread. One that arrives on another local queue goes to that queue's
    /// thread; one whose queue is not known waits for [`Self::update`]. `device`: index of the interface, if this queue is a
    /// hardware queue.
    pub(in crate::receive) fn place(
        &mut self,
        socket: Socket,
        plan: &Plan,
        device: Option<u32>,
        counters: &mut Counters,
    ) -> Option<Socket> {
        let config = &plan.config;
        let Some(index) = device else { return Some(socket) };
        match self.placement.of(&socket, index, config.queue) {
            Arrival::Expected => Some(socket),
            Arrival::Unknown => {
                self.unplaced.push(socket);
                None
            }
            Arrival::Elsewhere { ifindex, interface, queue } => {
                if let Some(inbox) = plan.exchange.find(ifindex, queue, &config.sink) {
                    match inbox.hand(socket) {
                        Ok(()) => {
                            counters.ring.handed_over += 1;
                            return None;
                        }
                        // The queue ends at this moment.
                        Err(back) => return Some(back),
                    }
                }
                counters.ring.misplaced += 1;
                if self.may_log() {
                    log_misplaced(plan, &socket, &format!("{interface}:{queue}"));
                }
                Some(socket)
            }
        }
    }

    /// Whether a helper should read the host's queues now.
    pub(in crate::receive) fn wants_queues(&mut self) -> bool {
        !self.unplaced.is_empty() && self.placement.begin_reading()
    }

    /// Takes the host's queues from a helper. Returns the connections that waited for them.
    pub(in crate::receive) fn update(&mut self, queues: Vec<HardwareQueue>) -> Vec<Socket> {
        self.placement.update(queues);
        mem::take(&mut self.unplaced)
    }

    /// Takes the waiting connections without knowing where they arrive.
    pub(in crate::receive) fn take_unplaced(&mut self) -> Vec<Socket> {
        self.placement.give_up_reading();
        mem::take(&mut self.unplaced)
    }

    /// Logs that a connection was refused because the area has no room for its socket.
    pub(in crate::receive) fn log_refused(&mut self, plan: &Plan, socket: &Socket, limit: u64) {
        if self.may_log() {
            warn!(
                queue = plan.name,
                peer = peer(socket),
                "connection refused: the area's budget for sockets allows {limit} connections; raise area, or spread \
                 connections over more queues (logged at most once a second)"
            );
        }
    }

    fn may_log(&mut self) -> bool {
        let may = self.logged.is_none_or(|logged| logged.elapsed() >= LOG_PAUSE);
        if may {
            self.logged = Some(Instant::now());
        }
        may
    }
}

fn log_misplaced(plan: &Plan, socket: &Socket, arrives: &str) {
    let local = socket.local_addr().ok().and_then(|address| address.as_socket());
    let port = local.map_or(0, |local| local.port());
    let config = &plan.config;
    let (interface, queue) = (config.interface.as_deref().unwrap_or_default(), config.queue);
    warn!(
        queue = plan.name,
        peer = peer(socket),
        arrives,
        "a connection arrives on queue {arrives} and not on this one: its data is copied, or cannot be received; steer \
         it here (ethtool -N {interface} flow-type tcp4 dst-port {port} action {queue}), or receive on that queue too, \
         with the same sink (logged at most once a second)"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_listener_returns_waiting_connections_and_completes_no_other() -> std::io::Result<()> {
        use std::net::TcpStream;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let waiting = [TcpStream::connect(address)?, TcpStream::connect(address)?];
        assert_eq!(drain(&listener).len(), waiting.len());
        assert!(TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err());
        assert!(drain(&listener).is_empty());
        Ok(())
    }

    #[test]
    fn failed_accept_pauses_unless_only_the_peer_gave_up() {
        let rearm = |result, more| accepted(result, more).1;
        assert_eq!(rearm(-libc::ECONNABORTED, false), Rearm::Now);
        assert_eq!(rearm(-libc::EMFILE, false), Rearm::After(ACCEPT_PAUSE));
        assert_eq!(rearm(-libc::EMFILE, true), Rearm::NotNeeded);
    }
}
