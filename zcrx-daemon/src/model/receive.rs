//! State and counters of zcrxd's local queues.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{BackendKind, QueueKey, RingStatistics, ZcrxSample};

/// Why a better backend was not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The backend that was tried.
    pub backend: BackendKind,
    /// The attempted step as text: "register interface queue eth0:3".
    pub step: String,
    /// The kernel's errno, positive; `None` if zcrxd itself refused.
    pub errno: Option<i32>,
    /// Meaning of the errno for this step, as text.
    pub reason: String,
    /// What the user can do to make the backend work.
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

/// State of a local queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueState {
    /// Receives.
    Running,
    /// Receives, but not on the configured backend.
    Degraded,
    /// Does not receive; zcrxd will register the queue again.
    Failed,
    /// Ended on request.
    Stopped,
}

impl QueueState {
    /// Every state, for metrics with one series for each state.
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

/// One of several threads that receive from one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerSample {
    /// Whether the thread receives now.
    pub receives: bool,
    /// Data completions on the thread's ring.
    pub completions: u64,
    /// Connections that the thread has open.
    pub connections: u64,
}

/// One local queue at one moment. Counters count from the start of the receive thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiveSample {
    /// The queue.
    pub key: QueueKey,
    /// Index of the interface that the queue was registered on, which a rename does not change.
    #[serde(default)]
    pub ifindex: Option<u32>,
    /// Backend in use and the ones refused.
    pub selection: Selection,
    /// State of the queue.
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
    /// Completions that delivered a buffer, or part of one, to user space.
    pub dispensed: u64,
    /// Refill entries published.
    pub returned: u64,
    /// Buffers held when their queue was torn down: the kernel took them back without a refill entry.
    #[serde(default)]
    pub reclaimed: u64,
    /// Buffers that the sink has finished with, not published yet because the refill ring was full.
    pub stashed: u64,
    /// Refill ring capacity, entries.
    pub refill_capacity: u32,
    /// Published refill entries that the kernel has not consumed yet.
    pub refill_depth: u32,
    /// Completion queue capacity, entries.
    pub cq_capacity: u32,
    /// Completions waiting to be reaped.
    pub cq_depth: u32,
    /// Completions that found the completion queue full.
    pub cq_overflows: u64,

    /// Payload received, bytes.
    pub bytes: u64,
    /// Payload that the kernel or an ordinary receive copied into the area, bytes, part of `bytes`; `None` if unknown.
    pub copied_bytes: Option<u64>,
    /// Features and counters of the kernel's zcrx; `None` on the software interface queue.
    #[serde(default)]
    pub zcrx: Option<ZcrxSample>,
    /// Data completions.
    pub completions: u64,
    /// Receives that ended with an error, by positive errno.
    pub errors: BTreeMap<i32, u64>,
    /// Connections that zcrxd could not accept, by positive errno.
    #[serde(default)]
    pub accept_errors: BTreeMap<i32, u64>,
    /// Connections that ended because their sink failed, by positive errno. Counted apart from `errors`: a full disk has the same
    /// errno as a full completion queue.
    #[serde(default)]
    pub sink_errors: BTreeMap<i32, u64>,
    /// Receives armed again after their multishot ended.
    pub rearms: u64,
    /// Failed allocations of the software interface queue; `None` where the kernel owns the allocator.
    pub starvations: Option<u64>,
    /// Whether a receive is waiting for a buffer right now; `None` where the kernel owns the allocator.
    pub starving: Option<bool>,

    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub connections: u64,
    /// Bytes compared by the `verify` sink.
    pub verified_bytes: u64,
    /// Bytes that differ from the sent pattern, part of `verified_bytes`.
    pub mismatched_bytes: u64,

    /// One entry for each receive thread; empty where the queue has one thread.
    #[serde(default)]
    pub workers: Vec<WorkerSample>,
    /// Statistics of the ring; `None` in recordings of older versions.
    #[serde(default)]
    pub ring: Option<RingStatistics>,
}

impl ReceiveSample {
    /// Buffers (more exactly: outstanding completions) that user space holds.
    pub const fn held(&self) -> u64 {
        self.dispensed.saturating_sub(self.returned + self.reclaimed)
    }
}
