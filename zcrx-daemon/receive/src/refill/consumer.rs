//! The consumer of the refill ring: the kernel's side.

use super::RingMemory;
use zcrx_uapi::ZcrxRqe;

/// Reads entries; the producer may overwrite them after [`Self::release`].
#[derive(Debug)]
pub struct Consumer<M> {
    memory: M,
    /// The kernel's `cached_head`.
    head: u32,
}

impl<M: RingMemory> Consumer<M> {
    /// Creates the consumer of a ring, at the ring's current head.
    pub fn new(memory: M) -> Self {
        let head = memory.head_acquire();
        Self { memory, head }
    }

    /// Number of entries that can be read now. If a faulty producer moved the tail too far, the ring counts as full.
    pub fn available(&self) -> u32 {
        self.memory.tail_acquire().wrapping_sub(self.head).min(self.memory.entries())
    }

    /// Reads the next entry. Calls beyond [`Self::available`] return old entries, as in the kernel.
    pub fn take(&mut self) -> ZcrxRqe {
        let rqe = self.memory.read(self.head);
        self.head = self.head.wrapping_add(1);
        rqe
    }

    /// Releases the read entries to the producer.
    pub fn release(&self) {
        self.memory.head_release(self.head);
    }

    /// The ring's memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }
}
