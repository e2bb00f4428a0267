//! Hands out buffers the way the kernel's page-pool provider does.

use crate::receive::refill::{Consumer, RingMemory};
use zcrx_uapi::zcrx::IORING_ZCRX_AREA_MASK;
use zcrx_uapi::zcrx::IORING_ZCRX_AREA_SHIFT;
use zcrx_uapi::{ZcrxCqe, ZcrxRqe};

/// Most buffers taken from the refill ring or the freelist at once: the kernel's `PP_ALLOC_CACHE_REFILL`.
pub const ALLOC_CACHE_REFILL: usize = 64;

/// A buffer of the area, by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Niov(pub u32);

/// Consumed refill entries that returned no buffer, by reason. The kernel drops such entries silently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Padding not zero, or no such area or buffer.
    pub malformed: u64,
    /// User space has no reference to the buffer: it returned the buffer twice, or the buffer was never delivered.
    pub unreferenced: u64,
}

/// References to one buffer.
#[derive(Clone, Copy, Debug, Default)]
struct Refs {
    /// All references: user space's, and the one of the receive that fills the buffer. The kernel's `pp_ref_count`.
    all: u32,
    /// Of these, user space's: one for each completion. The kernel's `user_refs`.
    user: u32,
}

/// The buffers of one area.
#[derive(Debug)]
pub struct Allocator<M> {
    rq: Consumer<M>,
    area_id: u16,
    niov_shift: u32,
    refs: Vec<Refs>,
    freelist: Vec<Niov>,
    cache: Vec<Niov>,
    rejected: Rejected,
}

impl<M: RingMemory> Allocator<M> {
    /// All of the area's `niovs` buffers of `niov_bytes` (a power of two) on the freelist.
    pub fn new(rq: Consumer<M>, area_id: u16, niovs: u32, niov_bytes: usize) -> Self {
        Self {
            rq,
            area_id,
            niov_shift: niov_bytes.trailing_zeros(),
            refs: vec![Refs::default(); niovs as usize],
            freelist: (0..niovs).map(Niov).collect(),
            cache: Vec::with_capacity(ALLOC_CACHE_REFILL),
            rejected: Rejected::default(),
        }
    }

    /// What to put above the offset in refill entries for this area.
    pub const fn token(area_id: u16) -> u64 {
        (area_id as u64) << IORING_ZCRX_AREA_SHIFT
    }

    /// Takes a buffer to fill: from the cache, which is filled from the refill ring or else from the freelist.
    /// `None`: starved. The caller holds one reference, to be given up by [`Self::release`].
    pub fn alloc(&mut self) -> Option<Niov> {
        if self.cache.is_empty() {
            self.refill_from_ring();
        }
        if self.cache.is_empty() {
            self.refill_from_freelist();
        }
        let niov = self.cache.pop()?;
        self.refs_of(niov).all = 1;
        Some(niov)
    }

    /// Gives (part of) a filled buffer to user space: one reference more, and the completion that says where it is.
    pub fn dispense(&mut self, niov: Niov, offset_in_niov: u32) -> ZcrxCqe {
        let refs = self.refs_of(niov);
        refs.all += 1;
        refs.user += 1;
        let offset = (u64::from(niov.0) << self.niov_shift) + u64::from(offset_in_niov);
        ZcrxCqe { off: Self::token(self.area_id) | offset, ..ZcrxCqe::default() }
    }

    /// Gives up the reference of [`Self::alloc`]. A buffer that user space does not hold goes back to the freelist.
    pub fn release(&mut self, niov: Niov) {
        let refs = self.refs_of(niov);
        refs.all -= 1;
        if refs.all == 0 {
            self.freelist.push(niov);
        }
    }

    /// Where a buffer begins in the area, bytes.
    pub fn offset_of(&self, niov: Niov) -> usize {
        (niov.0 as usize) << self.niov_shift
    }

    /// Number of buffers.
    pub fn niovs(&self) -> u32 {
        self.refs.len() as u32
    }

    /// Size of a buffer, bytes.
    pub const fn niov_bytes(&self) -> u32 {
        1 << self.niov_shift
    }

    /// Buffers that can be taken without any entry in the refill ring.
    pub fn free(&self) -> usize {
        self.freelist.len() + self.cache.len()
    }

    /// Buffers that user space holds, or whose published refill entry the allocator has not consumed.
    pub fn user_held(&self) -> usize {
        self.refs.iter().filter(|refs| refs.user > 0).count()
    }

    /// Refill entries that gave no buffer.
    pub const fn rejected(&self) -> Rejected {
        self.rejected
    }

    /// `ZCRX_CTRL_FLUSH_RQ`: consumes the whole refill ring; what that frees goes to the freelist.
    pub fn flush(&mut self) {
        while self.rq.available() > 0 {
            self.consume(|allocator, niov| allocator.freelist.push(niov));
        }
    }

    /// `io_zcrx_ring_refill`: the fast path.
    fn refill_from_ring(&mut self) {
        self.consume(|allocator, niov| allocator.cache.push(niov));
    }

    /// Consumes refill entries, and passes the buffers without a remaining reference to `free`.
    fn consume(&mut self, mut free: impl FnMut(&mut Self, Niov)) {
        // At most 64 entries are looked at, whatever they yield: with several fragments of a buffer in the ring the
        // kernel up to 7.2 can consume 64 entries and come back empty-handed.
        let entries = self.rq.available().min(ALLOC_CACHE_REFILL as u32);
        if entries == 0 {
            return;
        }
        for _ in 0..entries {
            let rqe = self.rq.take();
            let Some(niov) = self.parse(rqe) else {
                self.rejected.malformed += 1;
                continue;
            };
            let refs = self.refs_of(niov);
            if refs.user == 0 {
                self.rejected.unreferenced += 1;
                continue;
            }
            refs.user -= 1;
            refs.all -= 1;
            if refs.all == 0 {
                free(self, niov);
            }
        }
        self.rq.release();
    }

    /// `io_zcrx_refill_slow`.
    fn refill_from_freelist(&mut self) {
        let take = self.freelist.len().min(ALLOC_CACHE_REFILL);
        self.cache.extend(self.freelist.drain(self.freelist.len() - take..).rev());
    }

    /// `io_parse_rqe`: any byte of a buffer names the buffer; the length is not read.
    fn parse(&self, rqe: ZcrxRqe) -> Option<Niov> {
        let area_id = rqe.off >> IORING_ZCRX_AREA_SHIFT;
        let niov = (rqe.off & !IORING_ZCRX_AREA_MASK) >> self.niov_shift;
        if rqe.__pad != 0 || area_id != u64::from(self.area_id) || niov >= self.refs.len() as u64 {
            return None;
        }
        Some(Niov(niov as u32))
    }

    fn refs_of(&mut self, niov: Niov) -> &mut Refs {
        &mut self.refs[niov.0 as usize]
    }
}
