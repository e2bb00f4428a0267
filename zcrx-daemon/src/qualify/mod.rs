//! `zcrxd qualify`: tests that a driver passes before it is trusted with zcrx.
//!
//! The battery prepares the interface, registers the queue, receives large and small transfers from a peer, starves the queue
//! on purpose, and restores the interface. It reports what the driver did, for people and as JSON.
//!
//! | Module | Idea |
//! |---|---|
//! | `battery` | the tests in their order; the longer ones are files of their own |
//! | `peer` | the sending end |
//! | `consumer` | what makes a queue starve |
//! | `counters`, `settings` | what changed |
//! | `target`, `report` | what is tested, and the result |

mod battery;
mod consumer;
mod counters;
mod peer;
mod report;
mod settings;
mod target;

pub use battery::{Battery, QualifyError};
pub use peer::serve;
pub use report::{MovedCounter, QualifyReport, Restart, TestResult};
pub use target::Target;
