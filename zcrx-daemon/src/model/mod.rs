//! Plain data about queues, probes and the host at one moment. Imports no other module.
//!
//! Units are in the field names or their comments. A value that this kernel does not report is `None`, and the metric made
//! of it is absent: unknown is not zero.

mod command;
mod completions;
mod cost;
mod doubts;
mod episode;
mod event;
mod histogram;
mod host;
mod interface;
mod napi;
mod probe;
mod queue;
mod receive;
mod registration;
mod ring;
mod self_check;
mod snapshot;
mod sockets;
mod task;
mod text;
mod window;
mod zcrx;

pub use command::{on_interface, quoted};
pub use completions::CqState;
pub use cost::{MapCost, ProbeCost, ProgramCost};
pub use doubts::{BrokenRule, Doubts};
pub use episode::{Alarm, Cause, CauseChange, Confidence, Diagnosis, Episode, Finding, Trouble};
pub use event::{
    ControlCount, ControlOperation, ControlResult, DeliveryCount, FallbackCount, Lives, NotificationCount,
    NotificationKind, ResidenceCount,
};
pub use histogram::{ENTRIES, Histogram, MICROSECONDS, Scale};
pub use host::HostSample;
pub use interface::{
    Channels, Feature, FlowRule, FlowRules, HeaderSplit, Interface, MemoryProvider, NetNamespace, PagePool,
    PagePoolStats, Pause, QueueStats, Reading, Rings, Rss, RxQueue, Setup, XdpMode, XdpProgram,
};
pub use napi::NapiState;
pub use probe::{
    Attempt, Mechanism, Obstacle, PagePoolCount, ProbeSample, ProbeState, ProbeStatus, Scope, common_refusal,
};
pub use queue::{BackendKind, QueueKey};
pub use receive::{QueueState, ReceiveSample, Refusal, Selection, WorkerSample};
pub use registration::{Registration, RegistrationCount};
pub use ring::{BacklogStatistics, RingStatistics};
pub use self_check::{CheckedFigure, SelfCheck};
pub use snapshot::{
    AllocationCount, AreaState, KernelQueue, KernelSnapshot, Owner, PhysicalQueue, PoolState, RefillState,
};
pub use sockets::{SocketBacklog, TopSocket};
pub use task::{
    AllocationDistributions, Discovery, Log2Histogram, QueueRing, RunState, TaskState, Watermarks,
};
pub use text::{escaped, from_kernel};
pub use window::{CopyCount, NicFigures, QueueSample, Window};
pub use zcrx::{CopyCounts, EventCounts, Fallback, ZcrxCounts, ZcrxFeature, ZcrxSample};
