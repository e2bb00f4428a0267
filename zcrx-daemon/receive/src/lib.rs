//! The core of an io_uring zero-copy receiver: [`Queue`] registers a hardware queue on a ring, turns completions into
//! [`Buffer`]s, and returns these to the kernel through the refill ring.
//!
//! The ring belongs to the program. It must be set up with `IORING_SETUP_SINGLE_ISSUER`, `IORING_SETUP_DEFER_TASKRUN` and
//! `IORING_SETUP_CQE32`, by the thread that registers the queue. A turn of its loop is:
//!
//! 1. submit requests and wait;
//! 2. for each completion of a receive, call [`Queue::completion`], read [`Queue::bytes`], and return the buffer;
//! 3. call [`Queue::publish`], at least every 128 completions: until then the kernel lacks the buffers.
//!
//! | Step | Minimum kernel |
//! |---|---|
//! | [`Queue::register`] on a device | Linux 6.15, CAP_NET_ADMIN |
//! | [`Options::nodev`] | Linux 7.1, CAP_NET_ADMIN |
//! | [`Queue::flush`] | Linux 6.19 |
//!
//! Sizes are in bytes unless a name says entries. Errors are the kernel's errnos; `zcrx_uapi::registration::explain` explains
//! the errnos of a registration.
//!
//! | Module | Idea |
//! |---|---|
//! | [`memory`] | anonymous mappings in whole pages |
//! | [`refill`] | the refill ring, both sides |
//! | [`Queue`] | a registered queue |

pub mod memory;
mod queue;
pub mod refill;

pub use queue::{Buffer, Completion, Options, Queue};
