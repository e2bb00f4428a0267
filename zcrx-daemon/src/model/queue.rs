//! Names of queues and backends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Name of one receive queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QueueKey {
    /// The network interface; `None` for a queue without a device (backends `nodev` and `copy`).
    #[serde(default, deserialize_with = "super::text::deserialize_option")]
    pub interface: Option<String>,
    /// Hardware queue index, or the position in the configuration for a queue without a device.
    pub queue: u32,
}

impl QueueKey {
    /// The first part of the queue's name, in text and in metrics: the interface, or `software` without one.
    pub fn interface_name(&self) -> &str {
        self.interface.as_deref().unwrap_or("software")
    }
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.interface_name(), self.queue)
    }
}

/// Ways to bring data from the network into the area, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// zcrx on a hardware queue: the NIC writes payload into the area. Linux 6.15.
    Device,
    /// zcrx without a device: the kernel copies payload into the area. Linux 7.1.
    Nodev,
    /// The software interface queue: ordinary receives into the area, same refill contract, no zcrx needed.
    Copy,
}

impl BackendKind {
    /// The name used in configuration, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Nodev => "nodev",
            Self::Copy => "copy",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
