//! A ring with a registered queue, before any loop runs on it.

use super::backend::{AnyBackend, Selected, select_better};
use super::config::QueueConfig;
use super::pool::Pool;
use super::ring::Ring;
use crate::model::{BackendKind, Selection};
use crate::net::{interface_name, kernel_index};

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
    pub(super) fn better(config: &QueueConfig, outlives: bool, current: BackendKind) -> Option<Self> {
        let ring = Ring::disabled(config.cq_entries).ok()?;
        let ifindex = ifindex(config);
        let Selected { backend, pool, selection } = select_better(&ring, config, outlives, current)?;
        Some(Self { ring, backend, pool, selection, ifindex, busy_poll: false })
    }
}

/// Index of the queue's interface; `None` if the queue has no interface, or the interface is gone.
pub(super) fn ifindex(config: &QueueConfig) -> Option<u32> {
    kernel_index(config.interface.as_deref()?)
}

/// The configuration with the name that the interface has now. A queue that was registered follows its interface through a
/// rename.
pub(super) fn with_current_name(config: &QueueConfig, registered: Option<u32>) -> QueueConfig {
    let mut config = config.clone();
    if config.interface.is_some()
        && let Some(name) = registered.and_then(interface_name)
    {
        config.interface = Some(name);
    }
    config
}
