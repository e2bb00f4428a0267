//! Giving buffers back, or not.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use zcrx_uapi::ZcrxRqe;

use crate::fault::{Fate, Fault};
use crate::ledger::Ledger;
use crate::queue::Queue;
use crate::refill::Full;

/// An area id far beyond the 1024 areas that a queue can have.
const NO_SUCH_AREA: u64 = 0xfffe << zcrx_uapi::zcrx::IORING_ZCRX_AREA_SHIFT;
/// Completions that are scattered together.
const SCATTER_BATCH: usize = 64;
/// Coprime to the batch: neighbours end up that far apart.
const SCATTER_STRIDE: usize = 23;

/// One completion's data, to be returned some day.
#[derive(Clone, Copy)]
struct Debt {
    entry: ZcrxRqe,
    buffer: usize,
    since: Instant,
}

/// What is to be returned, by why it is not yet.
pub(super) struct Returns {
    pub(super) ledger: Ledger,
    /// The refill ring was full.
    stash: VecDeque<Debt>,
    /// Until a moment; all waits are equally long, so the first is due first.
    waiting: VecDeque<(Instant, Debt)>,
    /// Likewise, and then lost if the refill ring is full.
    dropping: VecDeque<(Instant, Debt)>,
    /// Until the fault ends.
    kept: Vec<Debt>,
    /// Until the batch is whole.
    scatter: Vec<Debt>,
    /// Until enough buffers are held.
    apart: Vec<Debt>,
}

impl Returns {
    pub(super) fn new(buffers: u32) -> Self {
        Self {
            ledger: Ledger::new(buffers),
            stash: VecDeque::new(),
            waiting: VecDeque::new(),
            dropping: VecDeque::new(),
            kept: Vec::new(),
            scatter: Vec::new(),
            apart: Vec::new(),
        }
    }

    /// One completion's data has been read: does with its buffer what the fault says.
    pub(super) fn done_with(&mut self, queue: &mut Queue, off: u64, bytes: u32, fault: Option<Fault>) {
        let debt =
            Debt { entry: Queue::entry(off, bytes), buffer: queue.buffer_of(off), since: Instant::now() };
        self.ledger.deliver(debt.buffer);
        match fault.map_or(Fate::Return, |fault| fault.fate(self.ledger.delivered)) {
            Fate::Return => self.return_buffer(queue, debt),
            Fate::ReturnOrDrop => match queue.refill.push(debt.entry) {
                Ok(()) => self.ledger.return_buffer(debt.buffer),
                Err(Full) => self.ledger.dropped += 1,
            },
            Fate::ReturnTwice => {
                self.return_buffer(queue, debt);
                self.ledger.returned_twice += u64::from(queue.refill.push(debt.entry).is_ok());
            }
            Fate::BadToken => {
                let off = (debt.entry.off & !zcrx_uapi::zcrx::IORING_ZCRX_AREA_MASK) | NO_SUCH_AREA;
                self.return_badly(queue, debt, off);
            }
            Fate::BadOffset => {
                let area_bytes = u64::from(queue.buffers) * queue.buffer_bytes as u64;
                self.return_badly(queue, debt, debt.entry.off + area_bytes);
            }
            Fate::HoldFor(time) => self.waiting.push_back((debt.since + time, debt)),
            Fate::HoldForThenDrop(time) => self.dropping.push_back((debt.since + time, debt)),
            Fate::Hold => self.kept.push(debt),
            Fate::Scatter => {
                self.scatter.push(debt);
                if self.scatter.len() == SCATTER_BATCH {
                    let batch = std::mem::take(&mut self.scatter);
                    for i in 0..SCATTER_BATCH {
                        self.return_buffer(queue, batch[i * SCATTER_STRIDE % SCATTER_BATCH]);
                    }
                }
            }
            Fate::Apart(buffers) => {
                self.apart.push(debt);
                if self.ledger.held_buffers() >= buffers {
                    self.return_apart(queue);
                }
            }
        }
    }

    /// Returns all completions that were collected, the last one of each buffer after those of all others: until then no
    /// buffer comes free.
    fn return_apart(&mut self, queue: &mut Queue) {
        let mut left: HashMap<usize, u32> = HashMap::new();
        for debt in &self.apart {
            *left.entry(debt.buffer).or_default() += 1;
        }
        let mut lasts = Vec::new();
        for debt in std::mem::take(&mut self.apart) {
            let left = left.entry(debt.buffer).or_default();
            *left -= 1;
            if *left == 0 { lasts.push(debt) } else { self.return_buffer(queue, debt) }
        }
        for debt in lasts {
            self.return_buffer(queue, debt);
        }
    }

    /// Returns what has become due or fits now.
    pub(super) fn progress(&mut self, queue: &mut Queue, now: Instant) {
        while let Some((_, debt)) = self.waiting.pop_front_if(|(due, _)| *due <= now) {
            self.stash.push_back(debt);
        }
        while let Some((_, debt)) = self.dropping.pop_front_if(|(due, _)| *due <= now) {
            match queue.refill.push(debt.entry) {
                Ok(()) => self.ledger.return_buffer(debt.buffer),
                Err(Full) => self.ledger.dropped += 1,
            }
        }
        while let Some(debt) = self.stash.pop_front() {
            if queue.refill.push(debt.entry).is_err() {
                self.stash.push_front(debt);
                break;
            }
            self.ledger.return_buffer(debt.buffer);
        }
    }

    /// The fault is over: returns all that can be returned.
    pub(super) fn release_all(&mut self, queue: &mut Queue) {
        self.stash.extend(self.kept.drain(..));
        self.stash.extend(self.scatter.drain(..));
        self.stash.extend(self.apart.drain(..));
        self.stash.extend(self.waiting.drain(..).map(|(_, debt)| debt));
        self.stash.extend(self.dropping.drain(..).map(|(_, debt)| debt));
        self.progress(queue, Instant::now());
    }

    /// Since when the oldest debt is held; what was dropped is not known any more.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().chain(&self.dropping).map(|(_, debt)| debt);
        self.stash
            .iter()
            .chain(waiting)
            .chain(&self.kept)
            .chain(&self.scatter)
            .chain(&self.apart)
            .map(|debt| debt.since)
            .min()
    }

    /// Entries that wait for room in the refill ring.
    pub(super) fn stashed(&self) -> usize {
        self.stash.len()
    }

    fn return_buffer(&mut self, queue: &mut Queue, debt: Debt) {
        // What is stashed goes first, in order.
        if self.stash.is_empty() && queue.refill.push(debt.entry).is_ok() {
            self.ledger.return_buffer(debt.buffer);
        } else {
            self.stash.push_back(debt);
        }
    }

    /// Publishes an entry that names no buffer in place of the right one, which stays held.
    fn return_badly(&mut self, queue: &mut Queue, debt: Debt, off: u64) {
        self.ledger.bad += u64::from(queue.refill.push(ZcrxRqe { off, ..debt.entry }).is_ok());
        self.kept.push(debt);
    }
}
