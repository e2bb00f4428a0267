//! Finds the hardware queue on which a connection arrives.
//!
//! A zcrx queue receives without copies only data that the NIC delivers to it. The kernel copies the data of a connection that
//! arrives on another queue of the interface, or cannot receive it if that queue has its own memory provider.

use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::net::{Netlink, interface_name};

/// How long a list of queues stays valid.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// A hardware queue of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::receive) struct HardwareQueue {
    napi: u32,
    ifindex: u32,
    interface: String,
    queue: u32,
}

/// Where a connection arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::receive) enum Arrival {
    /// On the expected queue, or the queue is unknown.
    Expected,
    /// On this queue.
    Elsewhere { ifindex: u32, interface: String, queue: u32 },
    /// The host's queues must be read first.
    Unknown,
}

/// The known queues of the host.
#[derive(Default)]
pub(in crate::receive) struct Placement {
    queues: Vec<HardwareQueue>,
    read: Option<Instant>,
    reading: bool,
}

/// Reads the host's queues. Blocks for as long as netlink takes. A kernel that cannot say (before Linux 6.8) gives none.
pub(in crate::receive) fn read_queues() -> Vec<HardwareQueue> {
    let queues = Netlink::default().queues(None).unwrap_or_default();
    let known = queues.into_iter().filter_map(|queue| {
        let interface = interface_name(queue.ifindex)?;
        Some(HardwareQueue { napi: queue.napi_id?, ifindex: queue.ifindex, interface, queue: queue.id })
    });
    known.collect()
}

impl Placement {
    /// Where a connection arrives that is expected on this queue of the interface with this index. Ids of NAPI instances change when an interface goes down
    /// and up: an unexpected one is looked up in a fresh list.
    pub(in crate::receive) fn of(&self, socket: &Socket, ifindex: u32, queue: u32) -> Arrival {
        // 0 where it did not come through a NIC's queue, as over the loopback.
        let Some(napi) = incoming_napi(socket).filter(|napi| *napi > 0) else { return Arrival::Expected };
        let found = self.queues.iter().find(|known| known.napi == napi);
        match found {
            Some(found) if found.ifindex == ifindex && found.queue == queue => Arrival::Expected,
            _ if self.read.is_none_or(|read| read.elapsed() >= GOOD_FOR) => Arrival::Unknown,
            Some(found) => {
                let HardwareQueue { ifindex, interface, queue, .. } = found.clone();
                Arrival::Elsewhere { ifindex, interface, queue }
            }
            None => Arrival::Expected,
        }
    }

    /// Whether a helper should read the host's queues now. True only once until [`Self::update`].
    pub(in crate::receive) fn begin_reading(&mut self) -> bool {
        !std::mem::replace(&mut self.reading, true)
    }

    /// Records that no helper reads the host's queues.
    pub(in crate::receive) const fn give_up_reading(&mut self) {
        self.reading = false;
    }

    /// Takes the host's queues from a helper.
    pub(in crate::receive) fn update(&mut self, queues: Vec<HardwareQueue>) {
        self.queues = queues;
        self.read = Some(Instant::now());
        self.reading = false;
    }
}

/// NAPI instance of a connection's last packet; `None` where the kernel does not report it.
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
