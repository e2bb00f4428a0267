//! The user side of an interface queue: the area's memory, and the way back into it.

use std::time::Instant;

use crate::model::{BackendKind, ENTRIES, Histogram};
use crate::uapi::ZcrxRqe;
use crate::uapi::zcrx::IORING_ZCRX_AREA_MASK;

use super::holds::Holds;
use super::mapping::Mapping;
use super::refill::{MappedRing, Producer};

/// One completion's data: (part of) a buffer that user space holds.
///
/// Neither `Copy` nor `Clone`, and only [`Pool`] makes and takes it: what is dispensed cannot be given back twice.
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost"]
pub(super) struct Buffer {
    /// Byte offset in the area, without the area id.
    offset: usize,
    len: u32,
    /// When its batch was reaped.
    reaped: Instant,
}

impl Buffer {
    /// Length of the data, bytes.
    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// A completion that points out of the area: the other side is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a completion for {len} bytes at {off:#x} points out of the area")]
pub(super) struct BadCompletion {
    off: u64,
    len: u32,
}

/// What a registration gives: area, refill ring, token.
#[derive(Debug)]
pub(super) struct Pool {
    area: Mapping,
    refill: Producer<MappedRing>,
    area_token: u64,
    buffer_bytes: u64,
    dispensed: u64,
    returned: u64,
    holds: Holds,
    /// Entries that waited right after a publication.
    depths: Histogram,
    /// Entries of each publication.
    batches: Histogram,
    /// Publications that left entries over.
    full: u64,
}

impl Pool {
    pub(super) fn new(area: Mapping, refill: MappedRing, area_token: u64, buffer_bytes: u64) -> Self {
        Self {
            area,
            refill: Producer::new(refill),
            area_token,
            buffer_bytes,
            dispensed: 0,
            returned: 0,
            holds: Holds::new(),
            depths: Histogram::default(),
            batches: Histogram::default(),
            full: 0,
        }
    }

    /// A batch of completions is about to be looked at.
    pub(super) fn batch(&mut self) {
        self.holds.batch(Instant::now());
    }

    /// Takes the data that a completion announces.
    pub(super) fn dispense(&mut self, off: u64, len: u32) -> Result<Buffer, BadCompletion> {
        let error = BadCompletion { off, len };
        let in_token = off & IORING_ZCRX_AREA_MASK == self.area_token & IORING_ZCRX_AREA_MASK;
        let offset = usize::try_from(off & !IORING_ZCRX_AREA_MASK).map_err(|_| error)?;
        let end = offset.checked_add(len as usize);
        if !in_token || end.is_none_or(|end| end > self.area.bytes()) {
            return Err(error);
        }
        self.dispensed += 1;
        Ok(Buffer { offset, len, reaped: self.holds.taken() })
    }

    /// The data.
    pub(super) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        // SAFETY: `dispense` found the range to be inside the area, which is mapped as long as `self`. From the
        // completion until the entry that gives it back is published nobody writes to it; that entry is written by
        // `give_back`, which takes the buffer, so the borrow has ended by then.
        unsafe { std::slice::from_raw_parts(self.area.start().add(buffer.offset).as_ptr(), buffer.len()) }
    }

    /// Gives a buffer back. The other side sees it after [`Self::publish`].
    #[expect(clippy::needless_pass_by_value, reason = "taking the buffer is what makes giving it back final")]
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        let off = self.area_token | buffer.offset as u64;
        self.holds.given_back(buffer.reaped);
        self.refill.push(ZcrxRqe { off, len: buffer.len, ..ZcrxRqe::default() });
    }

    /// Publishes what was given back, as far as there is room; says how many entries.
    pub(super) fn publish(&mut self) -> u32 {
        let published = self.refill.publish();
        self.full += u64::from(self.refill.stashed() > 0);
        if published > 0 {
            self.returned += u64::from(published);
            self.holds.published(published, Instant::now());
            self.depths.observe(&ENTRIES, u64::from(self.refill.depth()), 1);
            self.batches.observe(&ENTRIES, u64::from(published), 1);
        }
        published
    }

    /// The area.
    pub(super) const fn area(&self) -> &Mapping {
        &self.area
    }

    /// Size of one buffer, bytes.
    pub(super) const fn buffer_bytes(&self) -> u64 {
        self.buffer_bytes
    }

    /// The refill ring's memory, to be watched.
    pub(super) const fn refill_memory(&self) -> &MappedRing {
        self.refill.memory()
    }

    /// Published entries that nobody has consumed.
    pub(super) fn refill_depth(&self) -> u32 {
        self.refill.depth()
    }

    /// Entries that wait for room in the refill ring.
    pub(super) fn stashed(&self) -> u64 {
        self.refill.stashed() as u64
    }

    /// For how long buffers are out.
    pub(super) const fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Entries that waited right after each publication.
    pub(super) const fn depths(&self) -> &Histogram {
        &self.depths
    }

    /// Entries of each publication.
    pub(super) const fn batches(&self) -> &Histogram {
        &self.batches
    }

    /// Publications that left entries over, because the refill ring was full.
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

/// Threads and logs name a queue without a device so.
pub(super) fn short_name(interface: Option<&str>, queue: u32) -> String {
    format!("{}:{queue}", interface.unwrap_or("sw"))
}

/// What a queue that runs on `kind` cannot be told from outside, in words; empty for real zero copy.
pub(super) const fn degradation(kind: BackendKind) -> &'static str {
    match kind {
        BackendKind::Device => "",
        BackendKind::Nodev => "every byte is copied by the kernel",
        BackendKind::Copy => "every byte is copied by an ordinary receive",
    }
}
