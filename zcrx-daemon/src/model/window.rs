//! Samples of one queue, and the window of the last ones, from which a diagnosis is made.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{KernelQueue, Owner, QueueKey, ReceiveSample};

/// Everything known about one queue at one moment. A value without a source is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueSample {
    /// Time of the sample, CLOCK_MONOTONIC (the clock of `bpf_ktime_get_ns`).
    pub at: Duration,
    /// The queue.
    pub key: QueueKey,
    /// Generation of the queue: each registration gets another number. Counters of two generations are never compared.
    pub generation: u64,
    /// The process that owns the queue.
    pub owner: Option<Owner>,
    /// The cgroup of that process, as `/proc/<pid>/cgroup` has it (`/system.slice/ingest.service`); `None` where it
    /// cannot be read, and in cgroup v1.
    #[serde(default, deserialize_with = "super::text::deserialize_option")]
    pub owner_cgroup: Option<String>,
    /// Size of one buffer (niov), bytes.
    pub buffer_bytes: Option<u64>,
    /// State of the queue in the kernel; `None` without a snapshot, and after the queue's end.
    pub kernel: Option<Arc<KernelQueue>>,
    /// Figures of zcrxd's receive path; `None` for queues of other programs. Allocated apart: few queues have them, and
    /// a window holds many samples.
    #[serde(alias = "own")]
    pub local: Option<Box<ReceiveSample>>,
    /// Figures of its interface.
    #[serde(default)]
    pub nic: NicFigures,
    /// Why the NIC's figures are unknown, where zcrxd cannot enter the NIC's network namespace.
    #[serde(default)]
    pub nic_unknown: Option<String>,
    /// Runs of `napi_poll` for the queue's NAPI instance.
    pub napi_polls: Option<u64>,
    /// Payload that receives handed to the owner, bytes, as probes counted it.
    pub received_bytes: Option<u64>,
    /// Payload that the kernel copied into buffers because the NIC had not placed it there.
    pub copies: Option<CopyCount>,
    /// Receives that ended with an error, by positive errno, as probes counted them.
    pub errors: Option<BTreeMap<i32, u64>>,
    /// Time for which user space has held its oldest buffer; known for local queues only. Sampled residence does not
    /// show it: a buffer that its owner has returned may wait in the refill ring.
    pub oldest_held: Option<Duration>,
}

/// Figures of one receive queue from netdev netlink and ethtool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NicFigures {
    /// Payload and headers received, bytes (qstats `rx-bytes`).
    pub rx_bytes: Option<u64>,
    /// Failed allocations of buffers (qstats `rx-alloc-fail`).
    pub alloc_fail: Option<u64>,
    /// Packets that the NIC dropped (qstats `rx-hw-drops`).
    pub hw_drops: Option<u64>,
    /// Of these, packets that the NIC dropped because it had no buffer (qstats `rx-hw-drop-overruns`). Some drivers report only these.
    pub hw_drop_overruns: Option<u64>,
    /// Whether the driver leaves a buffer posted until it has another one for it, and drops the packet otherwise (bnxt_en): then a
    /// failed allocation is a dropped packet, although the receive ring stays full. False for unknown drivers.
    #[serde(default)]
    pub keeps_posted: bool,
    /// How many buffers the driver collects before it announces them to the NIC (gve: 32): with fewer posted, the NIC may have none.
    /// 0 for unknown drivers.
    #[serde(default)]
    pub posting_step: u32,
    /// Whether the NIC sends pause frames when it cannot take packets (`ethtool -a`, TX): then a starving queue stops the link partner,
    /// and packets for all queues of the port wait.
    pub pauses: Option<bool>,
    /// Receive ring, descriptors.
    pub ring: Option<u32>,
    /// Buffers the page pool is responsible for (`page-pool-get` `inflight`).
    pub pool_inflight: Option<u64>,
    /// Time for which the page pool has been detached from its queue and not freed (`page-pool-get`
    /// `detach-time`); `None` while it is attached.
    pub pool_detached_for: Option<Duration>,
}

/// Counts of the copy fallback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyCount {
    /// Buffers that copies filled.
    pub calls: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// The last samples of one generation of one queue, oldest first, bounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Window {
    capacity: usize,
    samples: VecDeque<QueueSample>,
}

impl Window {
    /// Creates an empty window for `samples` samples; at least two, since one sample shows no change.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(2);
        Self { capacity, samples: VecDeque::with_capacity(capacity) }
    }

    /// Gives its queue another name: that of its interface changed.
    pub fn rename(&mut self, key: &QueueKey) {
        for sample in &mut self.samples {
            sample.key.clone_from(key);
        }
    }

    /// Largest number of samples.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Adds a sample. A sample of another queue or generation clears the window first. A sample that is not newer than the
    /// last one is ignored.
    pub fn push(&mut self, sample: QueueSample) {
        if let Some(last) = self.samples.back() {
            if last.key != sample.key || last.generation != sample.generation {
                self.samples.clear();
            } else if sample.at <= last.at {
                return;
            }
        }
        if self.samples.len() == self.capacity {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &QueueSample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// Each sample with the one after it, oldest first.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = (&QueueSample, &QueueSample)> {
        self.samples.iter().zip(self.samples.iter().skip(1))
    }

    /// The newest sample.
    pub fn last(&self) -> Option<&QueueSample> {
        self.samples.back()
    }
}

impl QueueSample {
    /// What the kernel has, to be changed.
    #[cfg(any(test, feature = "queue-model"))]
    pub fn kernel_mut(&mut self) -> Option<&mut KernelQueue> {
        self.kernel.as_mut().map(Arc::make_mut)
    }

    /// Creates a sample in which all is unknown but the queue, its generation and the time.
    pub fn unknown(key: QueueKey, generation: u64, at: Duration) -> Self {
        Self {
            at,
            key,
            generation,
            owner: None,
            owner_cgroup: None,
            buffer_bytes: None,
            kernel: None,
            local: None,
            nic: NicFigures::default(),
            nic_unknown: None,
            napi_polls: None,
            received_bytes: None,
            copies: None,
            errors: None,
            oldest_held: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(generation: u64, second: u64) -> QueueSample {
        let key = QueueKey { interface: Some("eth0".to_owned()), queue: 3 };
        QueueSample::unknown(key, generation, Duration::from_secs(second))
    }

    fn seconds(window: &Window) -> Vec<u64> {
        window.samples().map(|sample| sample.at.as_secs()).collect()
    }

    #[test]
    fn the_oldest_sample_makes_room() {
        let mut window = Window::new(3);
        (1..=5).for_each(|second| window.push(sample(1, second)));
        assert_eq!(seconds(&window), [3, 4, 5]);
        assert_eq!(window.steps().count(), 2);
    }

    #[test]
    fn a_new_life_begins_a_new_window() {
        let mut window = Window::new(3);
        window.push(sample(1, 1));
        window.push(sample(2, 2));
        assert_eq!(seconds(&window), [2]);
    }

    #[test]
    fn time_does_not_go_back() {
        let mut window = Window::new(3);
        window.push(sample(1, 2));
        window.push(sample(1, 2));
        window.push(sample(1, 1));
        assert_eq!(seconds(&window), [2]);
    }

    #[test]
    fn serde_keeps_it() -> Result<(), serde_json::Error> {
        let mut window = Window::new(4);
        window.push(sample(1, 2));
        let text = serde_json::to_string(&window)?;
        assert_eq!(serde_json::from_str::<Window>(&text)?, window);
        Ok(())
    }
}
