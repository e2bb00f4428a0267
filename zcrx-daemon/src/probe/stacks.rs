//! Reads what the thread of a starving queue's ring is in.

use std::collections::BTreeMap;
use std::sync::Arc;

use aya::Ebpf;

use super::snapshot;
use crate::model::{KernelQueue, KernelSnapshot};

/// While a starvation lasts, stacks are read again after so many samples.
const AGAIN_AFTER: u64 = 10;

pub(super) struct Stacks {
    attached: bool,
    /// Samples taken.
    samples: u64,
    /// The sample in which the stacks of a starving queue were last read, by queue.
    read: BTreeMap<u64, u64>,
}

impl Stacks {
    pub(super) const fn new(attached: bool) -> Self {
        Self { attached, samples: 0, read: BTreeMap::new() }
    }

    /// Reads the stacks of the consumers of queues whose starvation has just begun, of those that starve on from time to time, and of all
    /// queues in the first sample, which is all that a command takes. Nothing is read in other samples: it takes the kernel some 10
    /// microseconds a thread.
    pub(super) fn fill(&mut self, snapshot: &mut KernelSnapshot, ebpf: &Ebpf) {
        self.samples += 1;
        if !self.attached {
            return;
        }
        let starving: Vec<u64> =
            snapshot.queues.iter().filter(|queue| starves(queue)).map(|queue| queue.ifq).collect();
        self.read.retain(|queue, _| starving.contains(queue));
        for queue in snapshot.queues.iter_mut().map(Arc::make_mut) {
            let due = self.read.get(&queue.ifq).is_none_or(|read| self.samples - read >= AGAIN_AFTER);
            let starves = starving.contains(&queue.ifq);
            if !(self.samples == 1 || starves && due) {
                continue;
            }
            if starves {
                self.read.insert(queue.ifq, self.samples);
            }
            for consumer in queue.rings.iter_mut().filter_map(|ring| ring.consumer.as_mut()) {
                match snapshot::Reader::stack(ebpf, consumer.tid) {
                    Ok(stack) => consumer.kernel_stack = Some(stack),
                    // It may have exited meanwhile.
                    Err(reason) => tracing::debug!(tid = consumer.tid, "no stack: {reason}"),
                }
            }
        }
    }
}

fn starves(queue: &KernelQueue) -> bool {
    queue.allocation.is_some_and(|allocation| allocation.starving_since.is_some())
}
