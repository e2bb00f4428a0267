//! What the threads share: the queue with its refill ring, and who holds which buffer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use serde::Serialize;
use zcrx_uapi::ZcrxRqe;

use crate::ledger::Ledger;
use crate::queue::Queue;

/// The state behind a lock.
#[derive(Default)]
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queue once it is registered, and the account of its buffers.
#[derive(Default)]
pub(super) struct State {
    registered: Option<(Queue, Ledger)>,
    /// Whether delivered buffers are kept.
    pub(super) hold: bool,
    /// Entries of buffers that are not returned yet.
    kept: Vec<(ZcrxRqe, usize)>,
    received_bytes: u64,
}

// SAFETY: the queue's pointers lead to mappings that the queue owns and that every thread of the process may use; the lock lets one
// thread at a time use them.
unsafe impl Send for State {}

impl State {
    pub(super) fn registered(&mut self, queue: Queue) {
        let ledger = Ledger::new(queue.buffers);
        self.registered = Some((queue, ledger));
    }

    pub(super) fn queue(&mut self) -> anyhow::Result<(&mut Queue, &mut Ledger)> {
        self.registered
            .as_mut()
            .map(|(queue, ledger)| (queue, ledger))
            .context("no ring has registered the queue")
    }

    /// Takes a completion's data and returns the buffer, unless it is to be kept.
    pub(super) fn deliver(&mut self, off: u64, bytes: u32, look: impl FnOnce(&[u8])) -> anyhow::Result<()> {
        let (queue, ledger) = self.queue()?;
        look(queue.data(off, bytes as usize)?);
        let (entry, buffer) = (Queue::entry(off, bytes), queue.buffer_of(off));
        ledger.deliver(buffer);
        self.received_bytes += u64::from(bytes);
        self.kept.push((entry, buffer));
        self.return_kept()
    }

    pub(super) fn resume(&mut self) {
        self.hold = false;
    }

    /// Returns what fits into the refill ring.
    pub(super) fn return_kept(&mut self) -> anyhow::Result<()> {
        if self.hold {
            return Ok(());
        }
        let mut kept = std::mem::take(&mut self.kept);
        let (queue, ledger) = self.queue()?;
        while let Some(&(entry, buffer)) = kept.last() {
            if queue.refill.push(entry).is_err() {
                break;
            }
            ledger.return_buffer(buffer);
            kept.pop();
        }
        self.kept = kept;
        Ok(())
    }

    pub(super) fn totals(&mut self) -> anyhow::Result<Totals> {
        let received_bytes = self.received_bytes;
        let (queue, ledger) = self.queue()?;
        let referenced = ledger.referenced(queue.buffers_in_refill_ring());
        let mut rest = referenced.as_slice();
        let mut areas = Vec::new();
        for buffers in queue.area_sizes() {
            let (area, others) = rest.split_at(buffers as usize);
            rest = others;
            areas.push(AreaTruth {
                buffers,
                referenced: area.iter().filter(|&&referenced| referenced).count(),
            });
        }
        Ok(Totals {
            buffers: queue.buffers,
            referenced_buffers: areas.iter().map(|area| area.referenced).sum(),
            areas,
            held: ledger.held(),
            delivered: ledger.delivered,
            returned: ledger.returned,
            received_bytes,
            refill_head: queue.refill.head(),
            refill_tail: queue.refill.tail(),
            refill_pending: queue.refill.pending(),
            refill_entries: queue.refill.capacity(),
            copied_fragments: queue.copied().map(|(fragments, _)| fragments),
            copied_bytes: queue.copied().map(|(_, bytes)| bytes),
        })
    }
}

/// Figures of the queue.
#[derive(Serialize)]
pub(super) struct Totals {
    buffers: u32,
    /// Buffers that are held, or named by an entry that the kernel has not taken.
    referenced_buffers: usize,
    areas: Vec<AreaTruth>,
    held: u64,
    delivered: u64,
    returned: u64,
    received_bytes: u64,
    refill_head: u32,
    refill_tail: u32,
    refill_pending: u32,
    refill_entries: u32,
    /// What the kernel counted as copied. Linux 7.2.
    copied_fragments: Option<u64>,
    copied_bytes: Option<u64>,
}

#[derive(Serialize)]
struct AreaTruth {
    buffers: u32,
    referenced: usize,
}
