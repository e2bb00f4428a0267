//! What holds of every queue on every kernel: a figure that breaks it was not read right.
//!
//! The self-check needs a queue without a device (Linux 7.1) and covers no page pool. These rules need no queue of zcrxd's own and
//! are tried on each snapshot, for each queue on the host. They are wide: figures are read one after the other while the queue
//! moves. A rule may only use what no process can write, or any process could switch a figure off by a wrong entry in its own ring.

use std::fmt::Display;

use zcrx_uapi::zcrx::IO_RQ_MAX_ENTRIES;

use crate::model::{AreaState, BrokenRule, KernelQueue, RunState};

/// Entries that a completion queue has at most (`IORING_MAX_CQ_ENTRIES`).
const MOST_CQ_ENTRIES: u32 = 1 << 16;
/// Largest buffer: no driver takes more.
const MOST_BUFFER_BYTES: u32 = 1 << 30;
/// Largest thread id (`PID_MAX_LIMIT`).
const MOST_TID: u32 = 1 << 22;
/// Receive queues that an interface has at most: far above every NIC.
const MOST_QUEUES: u32 = 1 << 16;
/// No namespace has a lower inode number: those of the boot lie just below `PROC_DYNAMIC_FIRST`, those made later above.
const LEAST_NAMESPACE: u64 = 0xefff_ff00;
/// Buffers that may move between two reads, beside those that [`KernelQueue::moved`] counts.
const READ_LATER: u64 = 1024;

/// The rules that a queue breaks.
pub(super) fn broken_rules(queue: &KernelQueue) -> Vec<BrokenRule> {
    let mut rules = Rules(Vec::new());
    rules.of_areas(queue);
    rules.of_place(queue);
    rules.of_rings(queue);
    rules.0
}

struct Rules(Vec<BrokenRule>);

impl Rules {
    fn check(&mut self, figure: &'static str, holds: bool, shown: impl Display, rule: &dyn Display) {
        if !holds {
            self.0.push(BrokenRule { figure, rule: rule.to_string(), shown: shown.to_string() });
        }
    }

    fn of_areas(&mut self, queue: &KernelQueue) {
        for area in &queue.areas {
            self.check("areas.buffers", area.buffers > 0, area.buffers, &"at least 1");
            self.check(
                "areas.free",
                area.free <= area.buffers,
                area.free,
                &format_args!("at most {}", area.buffers),
            );
            let most = most_with_user_space(area, queue);
            if let (Some(used), Some(references)) = (area.user_buffers, area.user_references) {
                let used = u64::from(used);
                self.check("areas.user_buffers", used <= most, used, &format_args!("at most {most}"));
                let is_possible = references >= used;
                self.check(
                    "areas.user_references",
                    is_possible,
                    references,
                    &format_args!("at least {used}"),
                );
            }
        }
        if let Some(bytes) = queue.buffer_bytes {
            let page = rustix::param::page_size() as u32;
            let is_possible = (page..=MOST_BUFFER_BYTES).contains(&bytes);
            let possible = format_args!("from {page} to {MOST_BUFFER_BYTES}");
            self.check("buffer_bytes", is_possible, bytes, &possible);
        }
        if let Some(pool) = queue.pool.filter(|_| !queue.areas.is_empty()) {
            let most = queue.buffers() + READ_LATER;
            let inflight = u64::from(pool.inflight());
            self.check("pool.inflight", inflight <= most, inflight, &format_args!("at most {most}"));
            let kept = u64::from(pool.cache.unwrap_or(0)) + u64::from(pool.ring.unwrap_or(0));
            self.check("pool.kept", kept <= most, kept, &format_args!("at most {most}"));
        }
    }

    /// Interface index and number of the queue, and the interface's network namespace.
    fn of_place(&mut self, queue: &KernelQueue) {
        if let Some(index) = queue.ifindex {
            self.check("place", (1..=i32::MAX as u32).contains(&index), index, &"an interface index");
        }
        if let Some(number) = queue.queue {
            self.check("place", number < MOST_QUEUES, number, &format_args!("a queue below {MOST_QUEUES}"));
            let has_interface = queue.ifindex.is_some() || queue.interface.is_some();
            self.check("place", has_interface, number, &"no queue, or one of an interface");
        }
        if let Some(netns) = queue.netns {
            let is_possible = netns >= LEAST_NAMESPACE;
            self.check("netns", is_possible, netns, &format_args!("at least {LEAST_NAMESPACE}"));
        }
    }

    fn of_rings(&mut self, queue: &KernelQueue) {
        let mut is_size = |figure, entries: u32, most: u32| {
            let is_possible = entries.is_power_of_two() && entries <= most;
            self.check(figure, is_possible, entries, &format_args!("a power of two up to {most}"));
        };
        if let Some(refill) = queue.refill {
            is_size("refill.entries", refill.entries, IO_RQ_MAX_ENTRIES);
        }
        for cq in queue.rings.iter().filter_map(|ring| ring.cq) {
            is_size("cq.entries", cq.entries, MOST_CQ_ENTRIES);
        }
        let consumers = queue.rings.iter().filter_map(|ring| ring.consumer.as_ref());
        for task in consumers.filter(|task| task.run != Some(RunState::Exited)) {
            self.check("consumer.tid", (1..=MOST_TID).contains(&task.tid), task.tid, &"a thread id");
        }
    }
}

/// Buffers of an area that user space can have. Those on the freelist count out only where all buffers were counted, and where what
/// moved meanwhile is known of all rings.
fn most_with_user_space(area: &AreaState, queue: &KernelQueue) -> u64 {
    let (all, free) = (u64::from(area.buffers), u64::from(area.free));
    match queue.moved {
        Some(moved) if area.user_buffers_error == Some(0) && queue.rings.len() == 1 => {
            all.min(all.saturating_sub(free) + u64::from(moved) + READ_LATER)
        }
        _ => all,
    }
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
