//! What holds of every queue on every kernel: a figure that breaks it was not read right.
//!
//! The self-check needs a queue without a device (Linux 7.1) and covers no page pool. These rules need no queue of zcrxd's own and
//! are tried on each snapshot, for each queue on the host. They are wide: figures are read one after the other while the queue
//! moves. A rule may only use what no process can write, or any process could switch a figure off by a wrong entry in its own ring.

use crate::model::{BrokenRule, KernelQueue, RunState};

/// Entries that a refill ring has at most (`IO_RQ_MAX_ENTRIES`).
const MOST_REFILL_ENTRIES: u32 = 1 << 15;
/// Entries that a completion queue has at most (`IORING_MAX_CQ_ENTRIES`).
const MOST_CQ_ENTRIES: u32 = 1 << 16;
/// Largest buffer: no driver takes more.
const MOST_BUFFER_BYTES: u32 = 1 << 30;
/// Largest thread id (`PID_MAX_LIMIT`).
const MOST_TID: u32 = 1 << 22;
/// Receive queues that an interface has at most: far above every NIC.
const MOST_QUEUES: u32 = 1 << 16;
/// Buffers that may go from the freelist to the page pool between two reads, beside those that [`KernelQueue::moved`] counts.
const READ_LATER: u64 = 1024;

/// The rules that a queue breaks.
pub(super) fn broken_rules(queue: &KernelQueue) -> Vec<BrokenRule> {
    let mut broken = Vec::new();
    let mut rule = |figure: &'static str, holds: bool, shown: u64, rule: &dyn std::fmt::Display| {
        if !holds {
            broken.push(BrokenRule { figure, rule: rule.to_string(), shown: shown.to_string() });
        }
    };
    let (buffers, free) = (queue.buffers(), queue.free());
    let moved = u64::from(queue.moved.unwrap_or(0));
    for area in &queue.areas {
        let (all, free) = (u64::from(area.buffers), u64::from(area.free));
        rule("areas.buffers", all > 0, all, &"at least 1");
        rule("areas.free", free <= all, free, &format_args!("at most {all}"));
        if let (Some(used), Some(references)) = (area.user_buffers, area.user_references) {
            let (used, error) = (u64::from(used), u64::from(area.user_buffers_error.unwrap_or(0)));
            let most = (all.saturating_sub(free) + error + moved).min(all);
            rule("areas.user_buffers", used <= most, used, &format_args!("at most {most}"));
            rule("areas.user_references", references >= used, references, &format_args!("at least {used}"));
        }
    }
    if let Some(refill) = queue.refill {
        let entries = refill.entries;
        let is_possible = entries.is_power_of_two() && entries <= MOST_REFILL_ENTRIES;
        let possible = format_args!("a power of two up to {MOST_REFILL_ENTRIES}");
        rule("refill.entries", is_possible, entries.into(), &possible);
    }
    if let Some(bytes) = queue.buffer_bytes {
        let page = rustix::param::page_size() as u32;
        let is_possible = (page..=MOST_BUFFER_BYTES).contains(&bytes);
        rule("buffer_bytes", is_possible, bytes.into(), &format_args!("from {page} to {MOST_BUFFER_BYTES}"));
    }
    if let Some(pool) = queue.pool.filter(|_| !queue.areas.is_empty()) {
        let inflight = u64::from(pool.inflight());
        let most = (buffers.saturating_sub(free) + moved + READ_LATER).min(buffers + moved);
        rule("pool.inflight", inflight <= most, inflight, &format_args!("at most {most}"));
        let kept = u64::from(pool.cache.unwrap_or(0)) + u64::from(pool.ring.unwrap_or(0));
        rule("pool.kept", kept <= buffers + READ_LATER, kept, &format_args!("at most {buffers}"));
    }
    if let Some(index) = queue.ifindex {
        rule("queue", (1..=i32::MAX as u32).contains(&index), index.into(), &"of an interface above 0");
    }
    if let Some(number) = queue.queue {
        rule("queue", number < MOST_QUEUES, number.into(), &format_args!("below {MOST_QUEUES}"));
    }
    for ring in &queue.rings {
        if let Some(cq) = ring.cq {
            let is_possible = cq.entries.is_power_of_two() && cq.entries <= MOST_CQ_ENTRIES;
            let possible = format_args!("a power of two up to {MOST_CQ_ENTRIES}");
            rule("cq.entries", is_possible, cq.entries.into(), &possible);
        }
        if let Some(task) = ring.consumer.as_ref().filter(|task| task.run != Some(RunState::Exited)) {
            rule("consumer.tid", (1..=MOST_TID).contains(&task.tid), task.tid.into(), &"a thread id");
        }
    }
    broken
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
