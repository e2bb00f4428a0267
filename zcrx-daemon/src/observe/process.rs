//! zcrxd as a process, from /proc/self.

use std::time::Duration;

use procfs::process::{LimitValue, Process};

/// Resources that zcrxd uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessSample {
    /// User and system CPU time.
    pub cpu: Duration,
    /// Start, since the Unix epoch; `None` where the boot time cannot be read.
    pub started: Option<Duration>,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors, where they can be listed.
    pub open_fds: Option<u64>,
    /// Soft limit of file descriptors; `None` for unlimited or unknown.
    pub max_fds: Option<u64>,
}

impl ProcessSample {
    /// Reads /proc/self; `None` where it is not mounted or hidden.
    pub fn of_self() -> Option<Self> {
        let process = Process::myself().ok()?;
        let stat = process.stat().ok()?;
        let limit = process.limits().ok().map(|limits| limits.max_open_files.soft_limit);
        Some(Self {
            cpu: from_ticks(stat.utime + stat.stime),
            started: procfs::boot_time_secs()
                .ok()
                .map(|boot| Duration::from_secs(boot) + from_ticks(stat.starttime)),
            resident_bytes: stat.rss * procfs::page_size(),
            virtual_bytes: stat.vsize,
            threads: u64::try_from(stat.num_threads).unwrap_or(0),
            open_fds: process.fd_count().ok().map(|count| count as u64),
            max_fds: match limit {
                Some(LimitValue::Value(value)) => Some(value),
                Some(LimitValue::Unlimited) | None => None,
            },
        })
    }
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
}
