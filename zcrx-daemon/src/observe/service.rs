//! zcrxd's state as a service: process, configuration, log, web endpoint.

use std::time::{SystemTime, UNIX_EPOCH};

/// Result of reading a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether the last reading succeeded.
    pub successful: bool,
    /// When it was last good; `None` if it never was.
    pub last_success: Option<SystemTime>,
}

impl Reload {
    /// Read now, and good.
    pub fn succeeded() -> Self {
        Self { successful: true, last_success: Some(SystemTime::now()) }
    }

    /// Seconds from the Unix epoch to the last success.
    pub fn last_success_seconds(&self) -> Option<f64> {
        self.last_success?.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
    }
}

/// A thread that the watchdog monitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSample {
    /// Task of the thread: `sampler`, or `receive eth0:3`.
    pub name: String,
    /// Whether the thread answered the last request.
    pub responsive: bool,
}

/// zcrxd's state as a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSample {
    /// The configuration; `None` as long as it was not read.
    pub config: Option<Reload>,
    /// Threads that the watchdog monitors.
    pub threads: Vec<ThreadSample>,
    /// Log lines left out because one place logged too much.
    pub log_lines_suppressed: u64,
    /// Log lines dropped because the log's reader did not keep up.
    pub log_lines_dropped: u64,
}
