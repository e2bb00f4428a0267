//! Says it to machines: Prometheus text, the web endpoint that serves it, recordings of episodes.

pub mod http;
pub mod metrics;
mod readiness;
pub mod recording;

pub use readiness::{Phase, not_ready};
