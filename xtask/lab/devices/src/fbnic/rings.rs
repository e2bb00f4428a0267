//! Rings in guest memory: their places, sizes and done bits.

use super::Fbnic;

const DONE: u64 = 1 << 63;

impl Fbnic {
    /// A ring's address, of which the lowest seven bits are none.
    pub(super) fn ring_base(&self, triad: usize, register: usize) -> u64 {
        u64::from(self.queue_register(triad, register) & !0x7f)
            | u64::from(self.queue_register(triad, register + 1)) << 32
    }

    /// A ring's entries: a power of two, of which the register holds the exponent; 0 means 2^16.
    pub(super) fn ring_size(&self, triad: usize, register: usize) -> usize {
        match self.queue_register(triad, register) & 15 {
            0 => 1 << 16,
            exponent => 1 << exponent,
        }
    }

    /// Reads a descriptor.
    pub(super) fn read_descriptor(&self, base: u64, index: usize) -> Option<u64> {
        self.port.memory.read(base.wrapping_add(8 * index as u64)).map(u64::from_le_bytes)
    }

    /// Writes a completion. `position` counts two laps of a ring: the done bit is set in the first and clear in the second.
    pub(super) fn write_completion(
        &self,
        base: u64,
        size: usize,
        position: usize,
        completion: u64,
    ) -> Option<()> {
        let done = if position & size == 0 { DONE } else { 0 };
        let address = base.wrapping_add(8 * (position & (size - 1)) as u64);
        self.port.memory.publish(address, (completion | done).to_le())
    }
}

/// Entries from one position of a ring to another.
pub(super) fn distance(from: usize, to: usize, size: usize) -> usize {
    to.wrapping_sub(from) & (size - 1)
}
