//! Transmit queues: work descriptors become frames.

use super::Fbnic;
use super::csr::{bits, queue};
use crate::wire::Frame;

/// Types of descriptors.
const META: u64 = 0;
const OPTIONAL_META: u64 = 1;
const LAST_BUFFER: u64 = 3;
/// Flags of metadata.
const SEGMENT: u64 = 1 << 35;
const COMPLETE: u64 = 1 << 37;

const ADDRESS: u64 = 0x3fff_ffff_ffff;

/// More than the largest packet that a driver segments.
const MOST_BYTES: usize = 1 << 17;

impl Fbnic {
    /// Takes the next packet of a queue, if all of its descriptors are there.
    pub(super) fn transmit_from(&mut self, triad: usize) -> Option<Frame> {
        let Self { triads, .. } = self;
        let (mut head, tail) = (triads[triad].tx_head, triads[triad].tx_tail);
        if head == tail || self.queue_register(triad, queue::TWQ0_CTL) & queue::ENABLE == 0 {
            return None;
        }
        let (base, size) = (self.ring_base(triad, queue::TWQ0_BASE), self.ring_size(triad, queue::TWQ0_SIZE));
        let (mut packet, mut meta) = (Vec::new(), 0);
        while head != tail {
            // A ring outside the guest's memory stands still.
            let descriptor = self.read_descriptor(base, head)?;
            head = (head + 1) & (size - 1);
            match bits(descriptor, 47, 46) {
                META => meta = descriptor,
                OPTIONAL_META => {}
                kind => {
                    let length = bits(descriptor, 63, 48) as usize;
                    if packet.len() + length <= MOST_BYTES {
                        // A packet of which a part is not the guest's memory goes out without that part.
                        let _ = self.port.memory.append(descriptor & ADDRESS, length, &mut packet);
                    }
                    if kind == LAST_BUFFER {
                        self.triads[triad].tx_head = head;
                        if meta & COMPLETE != 0 {
                            self.complete(triad, head);
                        }
                        let segment_size = (meta & SEGMENT != 0).then(|| bits(meta, 61, 48) as usize);
                        return Some(Frame::new(packet, segment_size));
                    }
                }
            }
        }
        None
    }

    /// Reports to the driver the position up to which the device has read descriptors.
    fn complete(&mut self, triad: usize, head: usize) {
        let (base, size) = (self.ring_base(triad, queue::TCQ_BASE), self.ring_size(triad, queue::TCQ_SIZE));
        let position = self.triads[triad].tx_completion;
        // A completion ring outside the guest's memory gets none: the driver notices a time-out.
        let _ = self.write_completion(base, size, position, head as u64);
        self.triads[triad].tx_completion = (position + 1) & (2 * size - 1);
        self.fire(self.queue_register(triad, queue::TIM_CTL) & 0xff);
    }
}
