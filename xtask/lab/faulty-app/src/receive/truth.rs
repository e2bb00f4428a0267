//! What the program says about itself, as one JSON object per line.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::Receiver;
use super::connection::{Backlog, Connection};

/// The truth of one moment. All counts are since start.
#[derive(Serialize)]
pub(super) struct Truth {
    /// Milliseconds since start.
    milliseconds: u128,
    /// How many reports were ordered before it: by this the answer to an order is known.
    asked: u64,
    pid: u32,
    zcrx_id: u32,
    /// The fault chosen, if any, and whether it is on.
    fault: Option<&'static str>,
    active: bool,
    /// Buffers in the area, and bytes of each.
    buffers: u32,
    buffer_bytes: usize,
    accepted: u64,
    connections: usize,
    sockets: Vec<Backlog>,
    received_bytes: u64,
    /// Payload bytes that differ from the test pattern.
    mismatched_bytes: u64,
    /// Completions with data reaped; of these returned, and lost because the refill ring was full.
    delivered: u64,
    returned: u64,
    dropped: u64,
    /// Completions not returned (delivered - returned), and the buffers they are in.
    held: u64,
    held_buffers: u64,
    /// Buffers that are held or named by an entry the kernel has not taken: unless completions wait to be reaped, these
    /// are all that user space has a reference to.
    referenced_buffers: u64,
    /// Age of the oldest completion held that was not dropped.
    oldest_held_milliseconds: Option<u128>,
    /// Entries published beyond the one that every completion is due.
    returned_twice: u64,
    bad: u64,
    /// Refill ring: positions, entries the kernel has not taken, capacity, and entries that wait for room.
    refill_head: u32,
    refill_tail: u32,
    refill_pending: u32,
    refill_entries: u32,
    stashed: usize,
    /// Completion queue: completions not reaped, capacity, and how often it overflowed.
    cq_ready: usize,
    cq_entries: usize,
    cq_overflow: u32,
    /// How receives ended: "EOF" at the end of the stream, "CAP" with all bytes that it was to take, "DATA" with data but
    /// no longer armed, or the errno.
    endings: BTreeMap<String, u64>,
    rearmed: u64,
    /// Event completions: each kind at most once, as none is armed again. Linux 7.2.
    alloc_fail_events: u64,
    copy_events: u64,
    /// What the kernel counted as copied. Linux 7.2.
    copied_fragments: Option<u64>,
    copied_bytes: Option<u64>,
}

impl Truth {
    pub(super) fn of(receiver: &mut Receiver) -> Self {
        let copied = receiver.queue.copied();
        let ledger = &receiver.returns.ledger;
        let refill = &receiver.queue.refill;
        let cq = receiver.ring.completion();
        Self {
            milliseconds: receiver.started.elapsed().as_millis(),
            asked: receiver.asked,
            pid: std::process::id(),
            zcrx_id: receiver.queue.zcrx_id,
            fault: receiver.fault.map(crate::fault::Fault::name),
            active: receiver.active,
            buffers: receiver.queue.buffers,
            buffer_bytes: receiver.queue.buffer_bytes,
            accepted: receiver.accepted,
            connections: receiver.connections.len(),
            sockets: receiver.connections.values().map(Connection::backlog).collect(),
            received_bytes: receiver.received_bytes,
            mismatched_bytes: receiver.mismatched_bytes,
            delivered: ledger.delivered,
            returned: ledger.returned,
            dropped: ledger.dropped,
            held: ledger.held(),
            held_buffers: ledger.held_buffers(),
            referenced_buffers: ledger.referenced_buffers(receiver.queue.buffers_in_refill_ring()),
            oldest_held_milliseconds: receiver.returns.oldest().map(|since| since.elapsed().as_millis()),
            returned_twice: ledger.returned_twice,
            bad: ledger.bad,
            refill_head: refill.head(),
            refill_tail: refill.tail(),
            refill_pending: refill.pending(),
            refill_entries: refill.capacity(),
            stashed: receiver.returns.stashed(),
            cq_ready: cq.len(),
            cq_entries: cq.capacity(),
            cq_overflow: cq.overflow(),
            endings: receiver.endings.clone(),
            rearmed: receiver.rearmed,
            alloc_fail_events: receiver.alloc_fail_events,
            copy_events: receiver.copy_events,
            copied_fragments: copied.map(|(fragments, _)| fragments),
            copied_bytes: copied.map(|(_, bytes)| bytes),
        }
    }

    /// A reader who has gone is no reason to stop receiving.
    pub(super) fn print(&self) {
        let line = serde_json::to_string(self).map_err(std::io::Error::from);
        if let Err(error) = line.and_then(|line| writeln!(std::io::stdout(), "{line}")) {
            eprintln!("foreign: the report was not written: {error}");
        }
    }
}
