//! A ring with a registered queue, before any loop runs on it.

use nix::net::if_::if_nametoindex;

use super::backend::{AnyBackend, Selected, select_better};
use super::config::QueueConfig;
use super::pool::Pool;
use super::ring::Ring;
use crate::model::{BackendKind, Selection};

/// Ring, backend and pool of a loop. The ring comes first: it is dropped before the memory that it uses.
pub(super) struct Prepared {
    pub(super) ring: Ring,
    pub(super) backend: AnyBackend,
    pub(super) pool: Pool,
    pub(super) selection: Selection,
    /// Index of the interface when the queue was registered.
    pub(super) ifindex: Option<u32>,
    /// Whether the ring polls its NIC.
    pub(super) busy_poll: bool,
}

impl Prepared {
    /// Registers a queue on a better backend than `current`, if there is one now. For a helper thread: the ring is disabled
    /// until the receive thread enables it.
    pub(super) fn better(config: &QueueConfig, current: BackendKind) -> Option<Self> {
        let ring = Ring::disabled(config.cq_entries).ok()?;
        let ifindex = ifindex(config);
        let Selected { backend, pool, selection } = select_better(&ring, config, current)?;
        Some(Self { ring, backend, pool, selection, ifindex, busy_poll: false })
    }
}

/// The index of the queue's interface; `None` if it has none, or that is gone.
pub(super) fn ifindex(config: &QueueConfig) -> Option<u32> {
    if_nametoindex(config.interface.as_deref()?).ok()
}
