//! zcrxd's state as a service: process, configuration, log, web endpoint.

use std::time::{SystemTime, UNIX_EPOCH};

/// How reading a configuration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// The last time it was read.
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

/// A thread that is watched over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSample {
    /// What it is for: `sampler`, or `receive eth0:3`.
    pub name: String,
    /// Whether it answered when it was last asked.
    pub responsive: bool,
}

/// zcrxd's state as a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSample {
    /// The configuration; `None` as long as it was not read.
    pub config: Option<Reload>,
    /// Threads that are watched over.
    pub threads: Vec<ThreadSample>,
    /// Log lines left out because one place logged too much.
    pub log_lines_suppressed: u64,
    /// Log lines dropped because the log's reader did not keep up.
    pub log_lines_dropped: u64,
}
