//! The flight recorder: an episode and the minute before it, on disk.
//!
//! The last samples of every queue are in memory anyhow, as the window of its tracker. When an episode begins, the
//! [`Recorder`] writes them to a file of their own and then adds each sample as it comes: whatever kills zcrxd finds the
//! recording on disk. [`Recording::read`] gives it back. `docs/recordings.md` describes the format for others.

mod directory;
mod format;
mod reader;
mod recorder;
#[cfg(test)]
mod tests;

pub use directory::Limits;
pub use format::{Entry, FORMAT, Header, VERSION};
pub use reader::{ReadError, Recording};
pub use recorder::{RecordError, Recorder};
