//! The own receive path: one ring per queue on its own thread, TCP in, one sink out.
//!
//! Three backends carry data into the area: zcrx on a hardware queue (`device`), zcrx without a device (`nodev`), and
//! a software interface queue for every other machine (`copy`). Everything above them is one and the same: buffers
//! come by completions, are consumed by a sink, and go back through the refill ring.
//!
//! | Module | Idea |
//! |---|---|
//! | [`config`](QueueConfig) | what one queue is asked to do |
//! | `receiver` | all queues: start, sample, stop |
//! | `reconfigure` | other queues than before, without disturbing those that stay |
//! | `worker` | a queue's thread: ring, connections, sinks |
//! | `backend` | device, nodev, copy, and the choice between them |
//! | `pool` | the area, and buffers that can be given back once only |
//! | `desk` | handing connections from one queue's thread to another's |
//! | `crew` | several threads on one queue |
//! | `merge` | what several threads say of one queue, as one sample |
//! | `holds` | for how long buffers are out |
//! | [`refill`] | the refill ring, both sides |
//! | [`software`] | the kernel's interface queue, in user space |
//! | [`pattern`] | test data that shows every fault |

mod backend;
mod completion;
mod config;
mod crew;
mod desk;
mod error;
mod holds;
mod mapping;
mod merge;
pub mod pattern;
mod pool;
mod receiver;
mod reconfigure;
mod reference;
pub mod refill;
mod ring;
pub mod software;
mod stats;
mod target;
mod wake;
mod worker;

pub use config::{
    BackendChoice, DEFAULT_AREA_BYTES, Destination, MAX_WORKERS, ParseChoiceError, QueueConfig, SinkConfig,
};
pub use error::ReceiveError;
pub use receiver::Receiver;
pub use reconfigure::Change;
pub use reference::reference;
