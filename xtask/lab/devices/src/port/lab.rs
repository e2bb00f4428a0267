//! The lab's own capability in configuration space: faults that a scenario switches on, and counters it reads.
//!
//! It is a vendor-specific capability, which drivers leave alone and the guest's root reaches through
//! `/sys/bus/pci/devices/*/config`:
//!
//! | Offset | Access | Holds |
//! |---|---|---|
//! | 0 | read | id 9, next capability, length, version 1 |
//! | 4 | write | every how many TCP frames one loses its header split; 0: none |
//! | 8 | write | every how many frames one is dropped on its way in; 0: none |
//! | 12 | write | delay of every interrupt, microseconds |
//! | 16 | write | counter to read: queue in the upper, [`Counter`] in the lower half |
//! | 20 | read | that counter, 32 bits, modulo 2^32 |

use std::time::Duration;

use super::config::Config;
use crate::bytes::{le32, put};

const VENDOR_SPECIFIC: u8 = 9;
const LENGTH: usize = 24;
const QUEUES: usize = 16;
const COUNTERS: usize = 6;

/// What a device counts for each of its receive queues.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    /// Frames that were delivered.
    Frames = 0,
    /// Of these, frames whose header was split off.
    Split = 1,
    /// Payload bytes of frames whose header was split off.
    SplitBytes = 2,
    /// Frames dropped because the driver had posted too few buffers.
    NoBuffers = 3,
    /// Frames that had to wait for a buffer, because the device may not drop.
    Held = 4,
    /// Payload bytes of TCP frames whose header was not split off.
    UnsplitBytes = 5,
}

/// The faults and counters of one function.
#[derive(Debug)]
pub(crate) struct Lab {
    at: usize,
    frames: u32,
    tcp_frames: u32,
    counters: [[u32; COUNTERS]; QUEUES],
}

impl Lab {
    /// Adds the capability.
    pub(crate) fn new(config: &mut Config) -> Self {
        let mut body = [0; LENGTH - 2];
        body[..2].copy_from_slice(&[LENGTH as u8, 1]);
        let at = config.capability(VENDOR_SPECIFIC, &body);
        config.allow(at + 4, 16);
        Self { at, frames: 0, tcp_frames: 0, counters: [[0; COUNTERS]; QUEUES] }
    }

    /// Whether the next frame is to be dropped.
    pub(crate) fn drops(&mut self, config: &Config) -> bool {
        every(&mut self.frames, le32(config.bytes(), self.at + 8))
    }

    /// Whether the next TCP frame loses its header split.
    pub(crate) fn loses_split(&mut self, config: &Config) -> bool {
        every(&mut self.tcp_frames, le32(config.bytes(), self.at + 4))
    }

    /// How late interrupts come.
    pub(crate) fn delay(&self, config: &Config) -> Duration {
        Duration::from_micros(u64::from(le32(config.bytes(), self.at + 12)))
    }

    /// Counts. Of queues beyond the sixteenth nothing is counted.
    pub(crate) fn count(&mut self, queue: usize, counter: Counter, by: u32) {
        if let Some(counters) = self.counters.get_mut(queue) {
            let counter = &mut counters[counter as usize];
            *counter = counter.wrapping_add(by);
        }
    }

    /// Puts the selected counter where the guest is about to read.
    pub(crate) fn answer(&self, config: &Config, at: usize, data: &mut [u8]) {
        let select = le32(config.bytes(), self.at + 16);
        let counters = self.counters.get((select >> 16) as usize);
        let value =
            counters.and_then(|counters| counters.get((select & 0xffff) as usize)).copied().unwrap_or(0);
        if at == self.at + 20 {
            put(data, 0, &value.to_le_bytes());
        }
    }
}

fn every(count: &mut u32, period: u32) -> bool {
    if period == 0 {
        return false;
    }
    *count = count.wrapping_add(1);
    count.is_multiple_of(period)
}
