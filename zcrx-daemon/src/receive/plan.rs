//! Inputs of one receive thread.

use std::net::TcpListener;
use std::sync::Arc;

use super::choices::SinkConfig;
use super::config::QueueConfig;
use super::group::WorkerSlot;
use super::handover::Handover;
use super::inbox::{ConnectionInbox, Exchange};
use super::stats::Stats;
use super::target::Addresses;
use super::wake::Wake;

/// All inputs of a receive thread. Outlives the rings: listeners stay open when a queue is registered again.
pub(super) struct Plan {
    /// The queue's name in logs.
    pub(super) name: String,
    pub(super) config: QueueConfig,
    pub(super) listeners: Vec<TcpListener>,
    /// Addresses of a forward sink's destination, as resolved at the start.
    pub(super) addresses: Option<Arc<Addresses>>,
    /// Connections and answers from other threads for this one.
    pub(super) inbox: Arc<ConnectionInbox>,
    /// Inboxes of all queues.
    pub(super) exchange: Arc<Exchange>,
    pub(super) stats: Arc<Stats>,
    pub(super) wake: Arc<Wake>,
    /// Connections from the zcrxd before. The loop takes them when it begins.
    pub(super) taken_over: Handover,
    /// Connections for the next zcrxd.
    pub(super) left: Handover,
    /// This thread's slot in its group; `None` for a queue with one thread.
    pub(super) slot: Option<WorkerSlot>,
}

impl Plan {
    /// One thread's share of a limit of the queue.
    pub(super) fn share(&self, limit: u64) -> u64 {
        if self.slot.is_some() { limit / u64::from(self.config.workers.max(1)) } else { limit }
    }

    /// Buffers that this thread's sinks may hold of an area of this size; `None` without a limit.
    pub(super) fn hold_limit(&self, area_bytes: u64, buffer_bytes: u64) -> Option<u64> {
        let limit = self.config.hold_limit_of(area_bytes);
        (limit < area_bytes).then(|| self.share(limit) / buffer_bytes)
    }

    /// Whether the queue may outlive the process. Several threads share too much for that.
    pub(super) fn outlives(&self) -> bool {
        self.slot.is_none() && self.exchange.outlives()
    }

    /// The sink's destination, for messages.
    pub(super) fn destination(&self) -> String {
        match &self.config.sink {
            SinkConfig::Forward(destination) => destination.to_string(),
            SinkConfig::Discard | SinkConfig::Verify => "the sender".to_owned(),
            SinkConfig::File(directory) => directory.display().to_string(),
        }
    }
}
