//! The consuming side of the refill ring, as the kernel plays it.

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
    /// Takes the consumer's side of a ring, wherever its head stands.
    pub fn new(memory: M) -> Self {
        let head = memory.head_acquire();
        Self { memory, head }
    }

    /// How many entries can be read now. A tail that a broken producer moved too far counts as a full ring.
    pub fn available(&self) -> u32 {
        self.memory.tail_acquire().wrapping_sub(self.head).min(self.memory.entries())
    }

    /// Reads the next entry. Only as often as [`Self::available`] said; more gives old entries, as in the kernel.
    pub fn take(&mut self) -> ZcrxRqe {
        let rqe = self.memory.read(self.head);
        self.head = self.head.wrapping_add(1);
        rqe
    }

    /// Gives what was read back to the producer.
    pub fn release(&self) {
        self.memory.head_release(self.head);
    }

    /// The ring's memory.
    pub const fn memory(&self) -> &M {
        &self.memory
    }
}
