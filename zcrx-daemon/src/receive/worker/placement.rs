//! Which hardware queue a connection arrives on, and whose that is.
//!
//! A zcrx queue receives only what the NIC delivers to it. A connection that arrives on another queue of the interface is
//! received all the same, but copied, or not at all where that queue has a provider of its own.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket;
use tracing::warn;

use super::session::Session;
use crate::model::{BackendKind, RxQueue};
use crate::net::{Netlink, interface_name};
use crate::receive::ReceiveError;
use crate::receive::desk::Desk;

/// How long an answer about queues is good, and how often misplaced connections are said to be so.
const PAUSE: Duration = Duration::from_secs(1);

/// What is known of the host's queues, asked for when first needed.
#[derive(Default)]
pub(super) struct Placement {
    netlink: Netlink,
    queues: Vec<RxQueue>,
    read: Option<Instant>,
    warned: Option<Instant>,
}

impl Placement {
    /// The interface and the queue that this NAPI instance polls. Ids change when an interface goes down and up: an
    /// unexpected one is asked for anew, though not all the time.
    fn of(&mut self, napi: u32, expected: impl Fn(&RxQueue) -> bool) -> Option<&RxQueue> {
        let known = |queues: &[RxQueue]| queues.iter().position(|queue| queue.napi_id == Some(napi));
        let fresh = self.read.is_some_and(|read| read.elapsed() < PAUSE);
        if !fresh && !known(&self.queues).is_some_and(|at| expected(&self.queues[at])) {
            self.read = Some(Instant::now());
            // A kernel that cannot tell (before Linux 6.8) leaves the list empty: then nothing is known.
            self.queues = self.netlink.queues(None).unwrap_or_default();
        }
        known(&self.queues).map(|at| &self.queues[at])
    }
}

/// Whose a connection is.
enum Whose {
    /// This thread's, or nobody can tell.
    Ours,
    /// Another own queue's.
    Other(Arc<Desk>),
    /// No own queue's: it arrives on this one.
    Nobodys(String),
}

impl Session<'_> {
    /// Takes an accepted connection in, or hands it to the thread whose queue it arrives on.
    pub(super) fn place(&mut self, socket: Socket) -> Result<(), ReceiveError> {
        match self.whose(&socket) {
            Whose::Ours => self.seat(socket),
            Whose::Other(desk) => {
                self.counters.ring.handed_over += 1;
                desk.hand(socket);
                Ok(())
            }
            Whose::Nobodys(arrives) => {
                self.misplaced(&socket, &arrives);
                self.seat(socket)
            }
        }
    }

    /// Takes a connection in, or deals it to another thread of the queue.
    fn seat(&mut self, socket: Socket) -> Result<(), ReceiveError> {
        let seat = self.plan.seat.as_ref().filter(|seat| seat.leads());
        let own = match seat {
            Some(seat) => seat.deal(socket),
            None => Some(socket),
        };
        own.map_or(Ok(()), |socket| self.welcome(socket))
    }

    /// Takes in what other threads handed over.
    pub(super) fn take_handed(&mut self) -> Result<(), ReceiveError> {
        for socket in self.plan.desk.take() {
            self.seat(socket)?;
        }
        Ok(())
    }

    fn whose(&mut self, socket: &Socket) -> Whose {
        let config = &self.plan.config;
        let (Some(interface), Some(BackendKind::Device)) = (&config.interface, self.selection().backend)
        else {
            return Whose::Ours;
        };
        // 0 where it did not come through a NIC's queue, as over the loopback.
        let Some(napi) = incoming_napi(socket).filter(|napi| *napi > 0) else { return Whose::Ours };
        let ours = |queue: &RxQueue| {
            queue.id == config.queue && interface_name(queue.ifindex).as_deref() == Some(interface)
        };
        let Some(queue) = self.placement.of(napi, ours) else { return Whose::Ours };
        if ours(queue) {
            return Whose::Ours;
        }
        let (name, queue) = (interface_name(queue.ifindex).unwrap_or_default(), queue.id);
        let desk = self.plan.exchange.find(&name, queue, &config.sink);
        desk.map_or_else(|| Whose::Nobodys(format!("{name}:{queue}")), Whose::Other)
    }

    /// Says that a connection will be slow, or fail, and why.
    fn misplaced(&mut self, socket: &Socket, arrives: &str) {
        self.counters.ring.misplaced += 1;
        if self.placement.warned.is_some_and(|warned| warned.elapsed() < PAUSE) {
            return;
        }
        self.placement.warned = Some(Instant::now());
        let name = |address: std::io::Result<socket2::SockAddr>| {
            address.ok().and_then(|address| address.as_socket()).map(|address| address.to_string())
        };
        let peer = name(socket.peer_addr()).unwrap_or_else(|| "a peer that is gone".to_owned());
        let port =
            socket.local_addr().ok().and_then(|address| address.as_socket()).map_or(0, |local| local.port());
        let config = &self.plan.config;
        let (interface, queue) = (config.interface.as_deref().unwrap_or_default(), config.queue);
        warn!(
            queue = self.plan.name,
            peer,
            arrives,
            "a connection arrives on queue {arrives} and not on this one: its data is copied, or cannot be received; steer \
             it here (ethtool -N {interface} flow-type tcp4 dst-port {port} action {queue}), or receive on that queue too, \
             with the same sink (said at most once a second)"
        );
    }
}

/// The NAPI instance that a connection's last packet came by; `None` where the kernel does not tell.
fn incoming_napi(socket: &Socket) -> Option<u32> {
    let mut napi: libc::c_uint = 0;
    let mut length = size_of::<libc::c_uint>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `napi`, and what it wrote to `length`; both live long enough.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut napi).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(napi)
}
