//! User space's side of an interface queue: the area's memory, and the return of buffers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::model::{BackendKind, ENTRIES, Histogram};
use zcrx_uapi::ZcrxRqe;
use zcrx_uapi::zcrx::{IORING_ZCRX_AREA_MASK, IORING_ZCRX_AREA_SHIFT};

use super::hold_times::HoldTimes;
use super::mapping::Mapping;
use super::refill::{MappedRing, Producer};

/// One completion's data: (part of) a buffer that user space holds.
///
/// Neither `Copy` nor `Clone`, and only [`Pool`] creates and consumes it, so zcrxd cannot return a buffer twice.
#[derive(Debug)]
#[must_use = "a buffer that is not returned is lost"]
pub(super) struct Buffer {
    /// The area's token, and below it the byte offset of the data in the area.
    off: u64,
    len: u32,
    /// Batch of the buffer's completion.
    batch: u64,
}

impl Buffer {
    /// Length of the data, bytes.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// A completion that points outside the area: the allocator (the kernel) is faulty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a completion for {len} bytes at {off:#x} points out of the area")]
pub(super) struct BadCompletion {
    off: u64,
    len: u32,
}

/// An area whose token is not its index among the queue's areas: the allocator is faulty, or newer than it reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token of area {id} is {token:#x}")]
pub(super) struct BadToken {
    id: usize,
    token: u64,
}

/// One area: its size and its mapping.
#[derive(Debug)]
struct Area {
    bytes: usize,
    memory: Arc<Mapping>,
}

/// The turn of several threads to write to one refill ring.
pub(super) type Turn = Arc<Mutex<()>>;

/// Areas and refill ring of a registered queue.
#[derive(Debug)]
pub(super) struct Pool {
    /// Areas by id: one, unless the queue has grown.
    areas: Vec<Area>,
    /// Whether the first area is the ring's registered buffer, from which the kernel sends without a copy.
    lends: bool,
    /// Taken for each publication where other threads have pools of the same queue.
    turn: Option<Turn>,
    area_bytes: u64,
    refill: Producer<MappedRing>,
    buffer_bytes: u64,
    dispensed: u64,
    returned: u64,
    buffers: u64,
    hold_times: HoldTimes,
    /// When the current batch was begun.
    batch_time: Instant,
    /// Entries that waited right after a publication.
    depths: Histogram,
    /// Entries of each publication.
    batches: Histogram,
    /// Batches of entries that did not fit into the refill ring.
    full: u64,
}

impl Pool {
    /// Creates a pool without an area.
    pub(super) fn new(refill: MappedRing, buffer_bytes: u64) -> Self {
        Self {
            areas: Vec::new(),
            lends: false,
            turn: None,
            area_bytes: 0,
            refill: Producer::new(refill),
            buffer_bytes,
            dispensed: 0,
            returned: 0,
            buffers: 0,
            hold_times: HoldTimes::new(),
            batch_time: Instant::now(),
            depths: Histogram::default(),
            batches: Histogram::default(),
            full: 0,
        }
    }

    /// Creates the pool of one of several threads of a queue. Each thread must return the buffers that it takes.
    pub(super) fn of_several(refill: MappedRing, buffer_bytes: u64, turn: Turn) -> Self {
        let refill_of_several = Producer::of_several(refill.clone());
        Self { refill: refill_of_several, turn: Some(turn), ..Self::new(refill, buffer_bytes) }
    }

    /// Lets other threads create pools of the same queue. Must be called before the first return.
    pub(super) fn share(&mut self) -> (Turn, Vec<Arc<Mapping>>) {
        let turn = Arc::clone(self.turn.get_or_insert_default());
        self.refill = Producer::of_several(self.refill.memory().clone());
        (turn, self.areas.iter().map(|area| Arc::clone(&area.memory)).collect())
    }

    /// Adds a registered area, with the token that the kernel assigned.
    pub(super) fn add_area(&mut self, memory: impl Into<Arc<Mapping>>, token: u64) -> Result<(), BadToken> {
        let memory = memory.into();
        let id = self.areas.len();
        // Kept even on an error: the kernel may write to it.
        self.area_bytes += memory.bytes() as u64;
        self.buffers = self.area_bytes / self.buffer_bytes;
        self.areas.push(Area { bytes: memory.bytes(), memory });
        if token == (id as u64) << IORING_ZCRX_AREA_SHIFT { Ok(()) } else { Err(BadToken { id, token }) }
    }

    /// Memory of the first area.
    pub(super) fn first_area(&self) -> Option<&Mapping> {
        self.areas.first().map(|area| &*area.memory)
    }

    /// Lets sinks send from the first area, or not. Returns whether they could until now.
    pub(super) const fn set_lends(&mut self, lends: bool) -> bool {
        std::mem::replace(&mut self.lends, lends)
    }

    /// Whether the kernel can send from the buffer without a copy.
    pub(super) const fn is_lendable(&self, buffer: &Buffer) -> bool {
        self.lends && split(buffer.off).0 == 0
    }

    /// Begins a batch of completions.
    pub(super) fn begin_batch(&mut self) {
        self.batch_time = Instant::now();
        self.hold_times.begin_batch(self.batch_time);
    }

    /// When the current batch was begun.
    pub(super) const fn batch_time(&self) -> Instant {
        self.batch_time
    }

    /// Ends a batch: counts whether entries did not fit into the refill ring.
    pub(super) fn end_batch(&mut self) {
        self.full += u64::from(self.refill.stashed() > 0);
    }

    /// Takes the buffer of a data completion.
    #[inline]
    pub(super) fn dispense(&mut self, off: u64, len: u32) -> Result<Buffer, BadCompletion> {
        let error = BadCompletion { off, len };
        let (id, offset) = split(off);
        let area = self.areas.get(id).ok_or(error)?;
        if offset.checked_add(len as usize).is_none_or(|end| end > area.bytes) {
            return Err(error);
        }
        self.dispensed += 1;
        Ok(Buffer { off, len, batch: self.hold_times.delivered() })
    }

    /// The data.
    pub(super) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let (id, offset) = split(buffer.off);
        // SAFETY: the buffer was created for a range inside that area, which is mapped as long as `self`. The kernel does
        // not write to the range from the completion until the entry that returns it is published. `Pool::give_back` writes
        // that entry and takes the buffer, so the borrow has ended by then.
        unsafe {
            std::slice::from_raw_parts(self.areas[id].memory.start().add(offset).as_ptr(), buffer.len())
        }
    }

    /// Returns a buffer. The kernel sees the entry after [`Self::publish`].
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "taking the buffer is what makes giving it back final")]
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.hold_times.given_back(buffer.batch);
        self.refill.push(ZcrxRqe { off: buffer.off, len: buffer.len, ..ZcrxRqe::default() });
    }

    /// Publishes returned entries as far as the refill ring has room. Returns their number.
    pub(super) fn publish(&mut self) -> u32 {
        let published = match &self.turn {
            None => self.refill.publish(),
            Some(_) if self.refill.is_idle() => 0,
            Some(turn) => {
                // A poisoned lock is harmless: the shared tail is the only state.
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                self.refill.publish()
            }
        };
        if published > 0 {
            self.returned += u64::from(published);
            self.hold_times.published(published, Instant::now());
            self.depths.observe(&ENTRIES, u64::from(self.refill.depth()), 1);
            self.batches.observe(&ENTRIES, u64::from(published), 1);
        }
        published
    }

    /// Size of all areas together, bytes.
    pub(super) const fn area_bytes(&self) -> u64 {
        self.area_bytes
    }

    /// Number of areas.
    pub(super) const fn areas(&self) -> u32 {
        self.areas.len() as u32
    }

    /// Number of buffers in all areas.
    pub(super) const fn buffers(&self) -> u64 {
        self.buffers
    }

    /// Size of one buffer, bytes.
    pub(super) const fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes
    }

    /// The refill ring's memory, for samples.
    pub(super) const fn refill_memory(&self) -> &MappedRing {
        self.refill.memory()
    }

    /// Published entries that the kernel has not consumed.
    pub(super) fn refill_depth(&self) -> u32 {
        self.refill.depth()
    }

    /// Entries that wait for room in the refill ring.
    pub(super) fn stashed(&self) -> u64 {
        self.refill.stashed() as u64
    }

    /// Hold times of buffers.
    pub(super) const fn hold_times(&self) -> &HoldTimes {
        &self.hold_times
    }

    /// Entries that waited right after each publication.
    pub(super) const fn depths(&self) -> &Histogram {
        &self.depths
    }

    /// Entries of each publication.
    pub(super) const fn batches(&self) -> &Histogram {
        &self.batches
    }

    /// Number of batches whose entries did not fit into the refill ring.
    pub(super) const fn full(&self) -> u64 {
        self.full
    }

    /// Completions taken.
    pub(super) const fn dispensed(&self) -> u64 {
        self.dispensed
    }

    /// Entries published.
    pub(super) const fn returned(&self) -> u64 {
        self.returned
    }
}

/// Area id and byte offset in the area.
const fn split(off: u64) -> (usize, usize) {
    ((off >> IORING_ZCRX_AREA_SHIFT) as usize, (off & !IORING_ZCRX_AREA_MASK) as usize)
}

/// Describes how a queue on backend `kind` is degraded; empty for real zero copy.
pub(super) const fn degradation(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Device => "",
        BackendKind::Nodev => "every byte is copied by the kernel",
        BackendKind::Copy => "every byte is copied by an ordinary receive",
    }
}

#[cfg(test)]
mod tests {

    use super::super::mapping::page_bytes;
    use super::super::refill::RingMemory;
    use super::*;
    use zcrx_uapi::ZcrxOffsets;

    const SECOND: u64 = 1 << IORING_ZCRX_AREA_SHIFT;

    fn pool() -> Pool {
        let region = Arc::new(Mapping::new(1).expect("a page"));
        let offsets = ZcrxOffsets { head: 0, tail: 64, rqes: 128, ..ZcrxOffsets::default() };
        let refill = MappedRing::new(region, &offsets, 8).expect("eight entries fit a page");
        let mut pool = Pool::new(refill, page_bytes() as u64);
        for (pages, token) in [(1, 0), (2, SECOND)] {
            let memory = Mapping::new(pages * page_bytes()).expect("a few pages");
            pool.add_area(memory, token).expect("tokens count up");
        }
        pool
    }

    #[test]
    fn each_area_has_bounds_of_its_own() {
        let page = page_bytes() as u64;
        let mut pool = pool();
        assert_eq!((pool.areas(), pool.area_bytes()), (2, 3 * page));
        for (off, len) in [(0, page), (page - 1, 1), (SECOND + page, page), (SECOND + 2 * page - 1, 1)] {
            let buffer = pool.dispense(off, len as u32).expect("inside");
            assert_eq!(pool.bytes(&buffer).len() as u64, len);
            pool.give_back(buffer);
        }
        for (off, len) in [(page, 1), (1, page), (SECOND + 2 * page, 1), (2 * SECOND, 1), (u64::MAX, 1)] {
            assert_eq!(
                pool.dispense(off, len as u32).map(|_| ()),
                Err(BadCompletion { off, len: len as u32 })
            );
        }
    }

    #[test]
    fn a_buffer_goes_back_to_the_area_it_came_from() {
        let mut pool = pool();
        for off in [SECOND + 100, 100] {
            let buffer = pool.dispense(off, 10).expect("inside");
            pool.give_back(buffer);
        }
        assert_eq!(pool.publish(), 2);
        assert_eq!([0, 1].map(|at| pool.refill_memory().read(at).off), [SECOND + 100, 100]);
    }

    #[test]
    fn an_area_with_a_token_out_of_order_is_refused_and_kept() {
        let mut pool = pool();
        let memory = Mapping::new(1).expect("a page");
        let added = pool.add_area(memory, SECOND);
        assert_eq!(added, Err(BadToken { id: 2, token: SECOND }));
        assert_eq!(pool.areas(), 3);
    }
}
