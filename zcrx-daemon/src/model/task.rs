//! Rings that share a queue, and the threads that use them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CqState, Owner, SocketBacklog};

/// One io_uring with the queue: the ring that registered the queue, or a ring that imported it (Linux 6.19).
///
/// All rings of a queue share its refill ring and its areas. Each has a completion queue, a consuming thread and
/// sockets of its own, so one ring that does not read starves all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueRing {
    /// Identity of the ring: unique for as long as zcrxd runs, never used again.
    pub id: u64,
    /// The queue's id on this ring (`zcrx_id`). Linux 6.16.
    pub zcrx_id: Option<u32>,
    /// Processes that hold the ring; more than one after a fork.
    pub owners: Vec<Owner>,
    /// The thread that submits and reaps (`submitter_task`): zcrx demands `IORING_SETUP_DEFER_TASKRUN`, so only this thread
    /// can move completions forward.
    pub consumer: Option<TaskState>,
    /// The completion queue.
    pub cq: Option<CqState>,
    /// Whether task work waits that the consumer has not run: data may be in the sockets, and the completion queue empty, until
    /// it enters the kernel.
    pub work_pending: Option<bool>,
    /// Whether the consumer sleeps in `io_uring_enter` until completions come: it is idle, not stuck.
    pub waiting: Option<bool>,
    /// Connected TCP sockets of this ring's owners that the queue feeds.
    pub sockets: Option<SocketBacklog>,
    /// Why [`Self::sockets`] is unknown, if it is.
    pub sockets_unknown: Option<String>,
}

/// A thread, as the scheduler has it at the moment of the sample.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskState {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Name of the thread.
    #[serde(deserialize_with = "super::text::deserialize")]
    pub comm: String,
    /// Its run state; `None` where this kernel's types lack it.
    pub run: Option<RunState>,
    /// CPU time since its start.
    pub cpu_time: Option<Duration>,
    /// Time since its start in which it was ready to run and had no CPU (`sched_info.run_delay`).
    pub run_delay: Option<Duration>,
    /// Time since the start of its cgroup in which `cpu.max` throttled it: the largest of the cgroup and its parents.
    pub throttled: Option<Duration>,
    /// The functions it is in, innermost first; empty if it was running. Read at the begin of a starvation and for
    /// `zcrxd diagnose`, `None` in other samples.
    pub kernel_stack: Option<Vec<String>>,
}

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Runs, or is ready to run.
    Running,
    /// Sleeps until an event or a signal (`S`).
    Sleeping,
    /// Sleeps and no signal wakes it: it waits for a disk, a lock, a frozen filesystem (`D`).
    Uninterruptible,
    /// Stopped by a signal (`T`).
    Stopped,
    /// Stopped by a debugger (`t`).
    Traced,
    /// Frozen by its cgroup or by suspend.
    Frozen,
    /// Waits for work as idle kernel threads do (`I`).
    Idle,
    /// Exited: its ring lives on in another process.
    Exited,
}

impl RunState {
    /// The name used in metrics and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Uninterruptible => "uninterruptible",
            Self::Stopped => "stopped",
            Self::Traced => "traced",
            Self::Frozen => "frozen",
            Self::Idle => "idle",
            Self::Exited => "exited",
        }
    }
}

/// Extremes of one queue since the previous sample, from the allocation probe. They show starvations that are
/// shorter than the interval between two samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watermarks {
    /// Calls of the allocation in this interval. Without any the other fields are `None`.
    pub calls: u64,
    /// Minimum of (free buffers + pending refill entries) at the begin of a call, buffers.
    pub least_allocatable: Option<u32>,
    /// Maximum of waiting refill entries at the begin of a call.
    pub most_pending: Option<u32>,
    /// The longest starvation that ended in this interval.
    pub longest_starvation: Option<Duration>,
}

/// Distributions of one queue since its first allocation that the probe saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AllocationDistributions {
    /// Lengths of starvations, microseconds.
    pub starvation_us: Log2Histogram,
    /// Refill entries consumed per call.
    pub consumed: Log2Histogram,
    /// Buffers allocated per call.
    pub yielded: Log2Histogram,
}

/// Values by power of two: bucket 0 counts 0, bucket `n` counts `2^(n-1)` up to `2^n - 1`, the last bucket all above.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log2Histogram {
    /// Values by bucket.
    pub counts: Vec<u64>,
    /// Sum of the values.
    pub sum: u64,
}

impl Log2Histogram {
    /// Number of counted values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bucket's largest value with the number of values up to it, the last bucket (without a bound) left out.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let bounded = self.counts.len().saturating_sub(1);
        self.counts[..bounded].iter().zip(0_u32..).scan(0, |below, (count, bucket)| {
            *below += count;
            Some(((1_u64 << bucket) - 1, *below))
        })
    }

    /// The largest value of the bucket that holds the given share (0 to 1) of the values; `None` without values or where it is
    /// the bucket without a bound.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        self.cumulative().find(|(_, below)| *below >= wanted).map(|(bound, _)| bound)
    }
}

/// How the snapshot found the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Discovery {
    /// By the registrations and teardowns that the probes saw: costs the same on every host.
    Registry,
    /// By a walk over the open files of all processes: costs about 150 ns per open file.
    Walk,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log2_buckets_end_below_the_next_power_of_two() {
        let histogram = Log2Histogram { counts: vec![1, 2, 0, 4, 1], sum: 40 };
        assert_eq!(histogram.count(), 8);
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(0, 1), (1, 3), (3, 3), (7, 7)]);
        assert_eq!((histogram.quantile(0.5), histogram.quantile(1.0)), (Some(7), None));
        assert_eq!(Log2Histogram::default().quantile(0.5), None);
    }
}
