//! What zcrxd's own receive path says about itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BackendKind, QueueKey, RingStatistics, ZcrxSample};

/// Why a better backend was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The backend that was tried.
    pub backend: BackendKind,
    /// What was attempted, in words: "register interface queue eth0:3".
    pub step: String,
    /// The errno the kernel gave, positive, if it was the kernel that refused.
    pub errno: Option<i32>,
    /// What the errno means here, in words.
    pub reason: String,
    /// What would make it work.
    pub remedy: String,
}

/// Which backend a queue runs on, and why not a better one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// The backend in use; `None` while none works.
    pub backend: Option<BackendKind>,
    /// One entry for each backend that was tried before it, best first.
    pub refused: Vec<Refusal>,
}

/// Where a queue's life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueState {
    /// Receives.
    Running,
    /// Receives, but not on the backend that was asked for.
    Degraded,
    /// Not receiving; will be tried again.
    Failed,
    /// Ended on request.
    Stopped,
}

impl QueueState {
    /// Every state, for metrics that show the ones that do not hold as 0.
    pub const ALL: [Self; 4] = [Self::Running, Self::Degraded, Self::Failed, Self::Stopped];

    /// The name used in metrics and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// One of several threads that receive what one queue brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerSample {
    /// Whether it receives now.
    pub receives: bool,
    /// Data completions on its ring.
    pub completions: u64,
    /// Connections it has open.
    pub connections: u64,
}

/// One own queue at one moment. Counters count from the start of the receive thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiveSample {
    /// Which queue.
    pub key: QueueKey,
    /// Backend in use and the ones refused.
    pub selection: Selection,
    /// Where its life stands, with the reason if it is not `Running`.
    pub state: QueueState,
    /// Why the state is not `Running`; empty otherwise.
    pub state_reason: String,
    /// Addresses its listeners are bound to.
    pub listen: Vec<String>,
    /// Sink that consumes the data: "discard", "verify", "forward".
    pub sink: String,
    /// Where the sink sends the data to (`HOST:PORT`, `unix:PATH`, a directory); `None` for a sink without a destination.
    #[serde(default)]
    pub sink_destination: Option<String>,

    /// Area size, bytes.
    pub area_bytes: u64,
    /// Size of one buffer (niov), bytes.
    pub buffer_bytes: u64,
    /// Number of buffers in the area.
    pub buffers: u64,
    /// Completions that handed (part of) a buffer to user space.
    pub dispensed: u64,
    /// Refill entries published.
    pub returned: u64,
    /// Held when their queue was torn down, which took them back without a refill entry.
    #[serde(default)]
    pub reclaimed: u64,
    /// Returned by the consumer but not published yet, because the refill ring was full.
    pub stashed: u64,
    /// Refill ring capacity, entries.
    pub refill_capacity: u32,
    /// Published refill entries that nobody has consumed yet.
    pub refill_depth: u32,
    /// Completion queue capacity, entries.
    pub cq_capacity: u32,
    /// Completions waiting to be reaped.
    pub cq_depth: u32,
    /// Completions the kernel had no room for.
    pub cq_overflows: u64,

    /// Payload received, bytes.
    pub bytes: u64,
    /// Of these, bytes that were copied into the area by the kernel or by an ordinary receive, where known.
    pub copied_bytes: Option<u64>,
    /// What the kernel's zcrx offers and tells; `None` on the software interface queue.
    #[serde(default)]
    pub zcrx: Option<ZcrxSample>,
    /// Data completions.
    pub completions: u64,
    /// Receives that ended with an error, by positive errno.
    pub errors: BTreeMap<i32, u64>,
    /// Likewise: connections that could not be accepted.
    #[serde(default)]
    pub accept_errors: BTreeMap<i32, u64>,
    /// Likewise: connections that ended because their data could not be given to the sink. A full disk has the errno of a full
    /// completion queue and is another matter.
    #[serde(default)]
    pub sink_errors: BTreeMap<i32, u64>,
    /// Receives armed again after their multishot ended.
    pub rearms: u64,
    /// Times the software interface queue had no buffer to give: `None` where the kernel owns the allocator.
    pub starvations: Option<u64>,
    /// Whether a receive is waiting for a buffer right now; `None` where the kernel owns the allocator.
    pub starving: Option<bool>,

    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub connections: u64,
    /// Bytes compared by the `verify` sink.
    pub verified_bytes: u64,
    /// Of these, bytes that were not what was sent.
    pub mismatched_bytes: u64,

    /// The threads that receive, one by one; empty where the queue has one.
    #[serde(default)]
    pub workers: Vec<WorkerSample>,
    /// What the receive thread measures of its ring; `None` in recordings from before it did.
    #[serde(default)]
    pub ring: Option<RingStatistics>,
}

impl ReceiveSample {
    /// Buffers (more exactly: outstanding completions) that user space holds.
    pub const fn held(&self) -> u64 {
        self.dispensed.saturating_sub(self.returned + self.reclaimed)
    }
}
