//! What was delivered to this program and what it returned.

/// Counts since start, and who holds which buffer.
pub(crate) struct Ledger {
    /// Completions with data that were reaped: each is to be returned once.
    pub(crate) delivered: u64,
    /// Of these, returned by an entry that was published.
    pub(crate) returned: u64,
    /// Of these, lost for good: the refill ring was full and the entry was dropped.
    pub(crate) dropped: u64,
    /// Entries published beyond that: for something that had been returned before.
    pub(crate) returned_twice: u64,
    /// Entries published beyond that: with a token or offset that names no buffer.
    pub(crate) bad: u64,
    /// For every buffer, completions delivered and not returned.
    outstanding: Vec<u32>,
    held_buffers: u64,
}

impl Ledger {
    pub(crate) fn new(buffers: u32) -> Self {
        Self {
            delivered: 0,
            returned: 0,
            dropped: 0,
            returned_twice: 0,
            bad: 0,
            outstanding: vec![0; buffers as usize],
            held_buffers: 0,
        }
    }

    /// A completion with data in `buffer`.
    pub(crate) fn deliver(&mut self, buffer: usize) {
        self.delivered += 1;
        self.held_buffers += u64::from(self.outstanding[buffer] == 0);
        self.outstanding[buffer] += 1;
    }

    /// A published entry for one such completion.
    pub(crate) fn return_buffer(&mut self, buffer: usize) {
        self.returned += 1;
        self.outstanding[buffer] -= 1;
        self.held_buffers -= u64::from(self.outstanding[buffer] == 0);
    }

    /// Completions delivered and not returned, the lost ones among them.
    pub(crate) fn held(&self) -> u64 {
        self.delivered - self.returned
    }

    /// Buffers that the kernel must take for user space's: held, or named by an entry that it has not taken yet.
    pub(crate) fn referenced_buffers(&self, in_refill_ring: impl Iterator<Item = usize>) -> u64 {
        self.referenced(in_refill_ring).into_iter().filter(|&referenced| referenced).count() as u64
    }

    /// For every buffer, whether the kernel must take it for user space's.
    pub(crate) fn referenced(&self, in_refill_ring: impl Iterator<Item = usize>) -> Vec<bool> {
        let mut referenced: Vec<bool> = self.outstanding.iter().map(|&outstanding| outstanding > 0).collect();
        for buffer in in_refill_ring {
            referenced[buffer] = true;
        }
        referenced
    }

    /// Makes room for the buffers of one more area.
    pub(crate) fn extend(&mut self, buffers: u32) {
        self.outstanding.resize(self.outstanding.len() + buffers as usize, 0);
    }

    /// Buffers of which at least one completion is not returned.
    pub(crate) fn held_buffers(&self) -> u64 {
        self.held_buffers
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn a_buffer_is_held_until_its_last_fragment_is_returned() {
        let mut ledger = Ledger::new(4);
        ledger.deliver(3);
        ledger.deliver(3);
        ledger.deliver(0);
        assert_eq!((ledger.held(), ledger.held_buffers()), (3, 2));
        ledger.return_buffer(3);
        assert_eq!((ledger.held(), ledger.held_buffers()), (2, 2));
        assert_eq!(ledger.referenced_buffers([3, 1].into_iter()), 3, "0 and 3 are held, 3 and 1 under way");
        ledger.return_buffer(3);
        ledger.return_buffer(0);
        assert_eq!((ledger.held(), ledger.held_buffers()), (0, 0));
    }
}
