//! zcrxd's receive path: one ring per queue on its own thread, TCP in, one sink out.
//!
//! Three backends carry data into the area: zcrx on a hardware queue (`device`), zcrx without a device (`nodev`), and
//! a software interface queue for every other machine (`copy`). Everything above them is the same: buffers come by
//! completions, are consumed by a sink, and go back through the refill ring. No receive thread ever blocks.
//!
//! | Module | Idea |
//! |---|---|
//! | [`config`](QueueConfig) | what one queue is asked to do |
//! | `receiver` | all queues: start, sample, stop |
//! | `reconfigure` | other queues than before, without disturbing those that stay |
//! | `worker` | a queue's thread and its event loop |
//! | `connections` | the table of connections: how they come, how they end, what their sockets may hold |
//! | `sinks` | where payload goes, behind one trait |
//! | `backend` | device, nodev, copy, and the choice between them |
//! | `pool` | the area, and buffers that can be returned once only |
//! | `inbox` | what other threads leave for a receive thread |
//! | `group` | several threads on one queue |
//! | `merge` | what several threads say of one queue, as one sample |
//! | `hold_times` | how long buffers are held |
//! | [`refill`] | the refill ring, both sides |
//! | [`software`] | the kernel's interface queue, in user space |
//! | [`pattern`] | test data that shows every fault |

mod backend;
mod completion;
mod config;
mod connections;
mod error;
mod group;
mod hold_times;
mod inbox;
mod merge;
pub mod pattern;
mod plan;
mod pool;
mod prepared;
mod receiver;
mod reconfigure;
mod reference;
mod ring;
mod sinks;
pub mod software;
mod stats;
mod target;
mod wake;
mod worker;

/// Anonymous memory in whole pages.
use zcrx_receive::memory as mapping;
/// The refill ring, both sides.
pub use zcrx_receive::refill;

pub use config::{
    BackendChoice, DEFAULT_AREA_BYTES, Destination, MAX_WORKERS, ParseChoiceError, QueueConfig, SinkConfig,
};
pub use error::ReceiveError;
pub use receiver::Receiver;
pub use reconfigure::Change;
pub use reference::reference;
