//! Transmit queues: descriptors become frames, and completions go back.

use super::Gvnic;
use super::admin::ring_size;
use crate::bytes::{le16, le64};
use crate::wire::Frame;

const DESCRIPTOR_BYTES: u64 = 16;
const COMPLETION_BYTES: u64 = 8;

/// Descriptor types.
const GENERAL_CONTEXT: u8 = 0x4;
const SEGMENTATION_CONTEXT: u8 = 0x5;
const PACKET: u8 = 0xc;
/// Flags beside the type.
const SEGMENT: u8 = 1 << 5;
const END_OF_PACKET: u8 = 1 << 5;
const REPORT_EVENT: u8 = 1 << 7;

/// Completion types.
const PACKET_DONE: u16 = 2;
const DESCRIPTORS_DONE: u16 = 4;

/// More than the largest packet that a driver segments.
const MOST_BYTES: usize = 1 << 17;

/// A transmit queue.
#[derive(Debug)]
pub(super) struct TxQueue {
    ring: u64,
    completions: u64,
    size: u16,
    completion_size: u16,
    vector: usize,
    head: u16,
    tail: u16,
    completion_head: u16,
    generation: bool,
    /// The packet whose descriptors are being read.
    packet: Vec<u8>,
    segment_size: Option<usize>,
}

impl TxQueue {
    /// Makes a queue, unless its sizes are impossible.
    pub(super) fn new(
        ring: u64,
        completions: u64,
        size: u16,
        completion_size: u16,
        vector: u32,
    ) -> Option<Self> {
        Some(Self {
            ring,
            completions,
            size: ring_size(size)?,
            completion_size: ring_size(completion_size)?,
            vector: vector as usize,
            head: 0,
            tail: 0,
            completion_head: 0,
            generation: true,
            packet: Vec::new(),
            segment_size: None,
        })
    }

    /// The driver has written descriptors up to here.
    pub(super) fn announce(&mut self, tail: u32) {
        self.tail = tail as u16 & (self.size - 1);
    }

    /// The next completion's address, and the word that makes it valid.
    fn next_completion(&mut self, queue: usize, kind: u16) -> (u64, u16) {
        let address = self.completions.wrapping_add(COMPLETION_BYTES * u64::from(self.completion_head));
        let word = queue as u16 | kind << 11 | u16::from(self.generation) << 15;
        self.completion_head = (self.completion_head + 1) & (self.completion_size - 1);
        self.generation ^= self.completion_head == 0;
        (address, word)
    }
}

impl Gvnic {
    /// Takes the next packet of a queue, if the driver has announced all of it.
    pub(super) fn transmit_from(&mut self, queue: usize) -> Option<Frame> {
        let memory = &self.port.memory;
        let tx = self.tx[queue].as_mut()?;
        while tx.head != tx.tail {
            let address = tx.ring.wrapping_add(DESCRIPTOR_BYTES * u64::from(tx.head));
            // A ring outside the guest's memory stands still.
            let descriptor: [u8; DESCRIPTOR_BYTES as usize] = memory.read(address)?;
            tx.head = (tx.head + 1) & (tx.size - 1);
            let flags = descriptor[8];
            match flags & 0x1f {
                SEGMENTATION_CONTEXT if flags & SEGMENT != 0 => {
                    tx.segment_size = Some(usize::from(le16(&descriptor, 4) & 0x3fff));
                }
                GENERAL_CONTEXT | SEGMENTATION_CONTEXT => {}
                PACKET => {
                    let length = usize::from(le16(&descriptor, 14) & 0x3fff);
                    if tx.packet.len() + length <= MOST_BYTES {
                        // A packet of which a part is not the guest's memory goes out without that part.
                        let _ = memory.append(le64(&descriptor, 0), length, &mut tx.packet);
                    }
                    if flags & END_OF_PACKET == 0 {
                        continue;
                    }
                    let frame = Frame::new(std::mem::take(&mut tx.packet), tx.segment_size.take());
                    self.complete(queue, le16(&descriptor, 12), flags & REPORT_EVENT != 0);
                    return Some(frame);
                }
                other => self
                    .port
                    .log(format_args!("transmit queue {queue}: descriptor of unknown type {other:#x}")),
            }
        }
        None
    }

    /// Reports to the driver that the device has sent a packet.
    fn complete(&mut self, queue: usize, tag: u16, is_reported: bool) {
        let Some(tx) = self.tx[queue].as_mut() else { return };
        let head = tx.head;
        let mut put = |kind, value: u16| {
            let (address, word) = tx.next_completion(queue, kind);
            self.port.memory.write(address.wrapping_add(2), &value.to_le_bytes())?;
            self.port.memory.publish(address, word.to_le())
        };
        // A completion ring outside the guest's memory gets none: the driver notices a time-out.
        let _ = put(PACKET_DONE, tag);
        if is_reported {
            let _ = put(DESCRIPTORS_DONE, head);
        }
        let vector = tx.vector;
        self.fire(vector);
    }
}
