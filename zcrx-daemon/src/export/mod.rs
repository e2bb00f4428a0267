//! Says it to machines: Prometheus text and the web endpoint that serves it.

pub mod metrics;
