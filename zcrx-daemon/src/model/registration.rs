//! Registrations of interface queues by any process on the host, as probes report them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One attempt to register an interface queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// CLOCK_BOOTTIME-free kernel time at its end (`bpf_ktime_get_ns`).
    pub at: Duration,
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Thread name.
    #[serde(deserialize_with = "super::text::deserialize")]
    pub comm: String,
    /// 0, or the positive errno.
    pub errno: i32,
    /// Whether the caller lacked `CAP_NET_ADMIN` in the initial user namespace: the kernel refuses whatever it asks for. Of each user,
    /// four such attempts per minute are listed.
    #[serde(default)]
    pub unprivileged: bool,
    /// Duration of the call, where the probe saw entry and exit.
    pub duration: Option<Duration>,
    /// Interface index asked for, where the arguments could be read.
    pub ifindex: Option<u32>,
    /// Interface name, where it could be found.
    #[serde(default, deserialize_with = "super::text::deserialize_option")]
    pub interface: Option<String>,
    /// Queue index asked for, where the arguments could be read.
    pub queue: Option<u32>,
    /// Inode of the caller's network namespace, where it could be read.
    #[serde(default)]
    pub netns: Option<u64>,
    /// The kernel's message for a failure ("tcp-data-split is disabled"), where there was one and the probe saw it.
    #[serde(default, deserialize_with = "super::text::deserialize_option")]
    pub words: Option<String>,
    /// Of a failure: what is likely behind it, likeliest first, each with what remedies it, and what was checked and found
    /// well. Looked up soon after, so the interface may have changed meanwhile.
    #[serde(default)]
    pub hints: Vec<String>,
}

/// Number of attempts with one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationCount {
    /// 0, or the positive errno.
    pub errno: i32,
    /// Attempts since zcrxd attached the probe.
    pub count: u64,
}
