//! zcrxd's receive path: one ring per queue on its own thread, TCP in, one sink out.
//!
//! Three backends carry data into the area: zcrx on a hardware queue (`device`), zcrx without a device (`nodev`), and
//! a software interface queue for every other machine (`copy`). The code above them is the same: completions deliver buffers, a
//! sink consumes them, and zcrxd returns them through the refill ring. No receive thread ever blocks.
//!
//! | Module | Idea |
//! |---|---|
//! | [`config`](QueueConfig) | configuration of one queue |
//! | `receiver` | all queues: start, sample, stop |
//! | `reconfigure` | changes of the set of queues; unchanged queues keep running |
//! | `worker` | a queue's thread and its event loop |
//! | `connections` | the table of connections: begin, end, limits of their sockets |
//! | `sinks` | destinations of payload, behind one trait |
//! | `backend` | device, nodev, copy, and the choice between them |
//! | `pool` | the area, and buffers that can be returned only once |
//! | `inbox` | connections and results that other threads leave for a receive thread |
//! | `handover` | connections that one zcrxd leaves to the next |
//! | `listening` | listening sockets, and where they outlive zcrxd |
//! | `group` | several threads on one queue |
//! | `merge` | joins the samples of a queue's threads |
//! | `hold_times` | how long buffers are held |
//! | [`refill`] | the refill ring, both sides |
//! | [`software`] | the kernel's interface queue, in user space |
//! | [`pattern`] | test data that shows every fault |

mod backend;
mod choices;
mod completion;
mod config;
mod connections;
mod error;
mod group;
mod handover;
mod hold_times;
mod inbox;
mod listening;
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

pub use choices::{BackendChoice, Destination, ParseChoiceError, SinkConfig};
pub use config::{MAX_WORKERS, QueueConfig, default_area_bytes};
pub use error::ReceiveError;
pub use handover::{HandedQueue, end_unknown};
pub use inbox::BeforeRegistration;
pub use listening::ListenerStore;
pub use receiver::Receiver;
pub use reconfigure::Change;
pub use reference::reference;
