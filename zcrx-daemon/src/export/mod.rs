//! Says it to machines: Prometheus text and the web endpoint that serves it.

pub mod http;
pub mod metrics;
mod readiness;

pub use readiness::{Phase, not_ready};
