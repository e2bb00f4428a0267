//! Statistics that the device writes to the driver's memory.
//!
//! gve shows them in `ethtool -S` as `rx_queue_drop_cnt` and `rx_no_buffers_posted`. When a real gVNIC counts these, and
//! how often it writes them, is not public: here both count frames dropped because no buffer was posted, at once.

use super::QUEUES;
use crate::port::Memory;

const DROPS: u32 = 65;
const STATISTIC_BYTES: u64 = 16;
/// Statistics of each receive queue; the last two (frames over the MTU, bad checksums) stay 0.
const STATISTICS: u64 = 4;
const HEADER_BYTES: u64 = 8;

/// Where the driver wants them, and what was counted since.
#[derive(Debug, Default)]
pub(super) struct Report {
    address: u64,
    entries: u64,
    dropped: [u64; QUEUES],
}

impl Report {
    /// The driver has set the report's place. Length 0 ends reporting.
    pub(super) fn place(&mut self, address: u64, length: u64) {
        self.address = address;
        self.entries = length.saturating_sub(HEADER_BYTES) / STATISTIC_BYTES;
    }

    /// Counts a dropped frame and writes the queue's statistics. The driver's own come first; the device's are the last
    /// `STATISTICS` entries for each queue there is.
    pub(super) fn drop_frame(&mut self, queue: usize, memory: &Memory, queues: usize) {
        let Some(dropped) = self.dropped.get_mut(queue) else { return };
        *dropped += 1;
        let Some(first) = self.entries.checked_sub(STATISTICS * queues as u64) else { return };
        let first = first + STATISTICS * queue as u64;
        for (index, value) in [*dropped, *dropped, 0, 0].into_iter().enumerate() {
            let mut statistic = Vec::new();
            statistic.extend((DROPS + index as u32).to_be_bytes());
            statistic.extend((queue as u32).to_be_bytes());
            statistic.extend(value.to_be_bytes());
            let at = HEADER_BYTES + STATISTIC_BYTES * (first + index as u64);
            // A report outside the guest's memory is not written.
            let _ = memory.write(self.address.saturating_add(at), &statistic);
        }
    }
}
