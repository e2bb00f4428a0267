//! Receive queues: frames become buffers and completions.

use super::Gvnic;
use super::admin::ring_size;
use crate::bytes::{be16, be32, be64, le64, put};
use crate::port::Counter;
use crate::wire::{Frame, IpVersion, Transport};

const BUFFER_BYTES: u64 = 32;
const COMPLETION_BYTES: u64 = 32;

/// Flags of a completion, by byte.
const COALESCED: u16 = 1 << 10;
const SPLIT: u16 = 1 << 11;
const DONE: u8 = 1 << 0;
const END_OF_PACKET: u8 = 1 << 1;
const PARSED: u8 = 1 << 3;
const GENERATION: u16 = 1 << 14;

/// Sizes of buffers that a driver may choose; a length in a completion has 14 bits.
const PACKET_BUFFERS: std::ops::RangeInclusive<u16> = 1024..=16383;

/// A receive queue.
#[derive(Debug)]
pub(super) struct RxQueue {
    completions: u64,
    buffers: u64,
    size: u16,
    buffer_ring: u16,
    packet_buffer: usize,
    header_buffer: usize,
    coalesces: bool,
    vector: usize,
    head: u16,
    tail: u16,
    completion_head: u16,
    generation: bool,
}

impl RxQueue {
    /// Makes a queue from a command's fields, unless its sizes are impossible.
    pub(super) fn new(fields: &[u8]) -> Option<Self> {
        let packet_buffer = be16(fields, 46);
        let queue = Self {
            vector: be32(fields, 12) as usize,
            completions: be64(fields, 24),
            buffers: be64(fields, 32),
            size: ring_size(be16(fields, 44))?,
            packet_buffer: usize::from(packet_buffer),
            buffer_ring: ring_size(be16(fields, 48))?,
            coalesces: fields[50] != 0,
            header_buffer: usize::from(be16(fields, 52)),
            head: 0,
            tail: 0,
            completion_head: 0,
            generation: true,
        };
        PACKET_BUFFERS.contains(&packet_buffer).then_some(queue)
    }

    /// The driver has posted buffers up to here.
    pub(super) fn post(&mut self, tail: u32) {
        self.tail = tail as u16 & (self.buffer_ring - 1);
    }

    /// Whether a packet that is larger than a frame is delivered whole.
    pub(super) fn coalesces(&self, frame: &Frame) -> bool {
        self.coalesces && frame.transport == Some(Transport::Tcp)
    }

    fn posted(&self) -> usize {
        usize::from(self.tail.wrapping_sub(self.head) & (self.buffer_ring - 1))
    }
}

impl Gvnic {
    /// The queue of a frame: by flow rule, else by hash.
    pub(super) fn steer(&self, frame: &Frame) -> usize {
        self.rules.queue(frame).unwrap_or_else(|| self.rss.queue(frame))
    }

    /// Delivers a frame to a queue, or drops it where the driver has posted too few buffers.
    pub(super) fn place(&mut self, queue: usize, frame: &Frame) {
        let is_tcp = frame.transport == Some(Transport::Tcp);
        let loses_split = is_tcp && self.port.loses_split();
        let Some(rx) = self.rx[queue].as_mut() else { return };
        let is_split = is_tcp && !loses_split && rx.header_buffer > 0 && frame.payload_at <= rx.header_buffer;
        let header = if is_split { frame.payload_at } else { 0 };
        let payload = &frame.bytes[header..];
        let needed = payload.len().div_ceil(rx.packet_buffer).max(1);
        if rx.posted() < needed {
            self.port.lab.count(queue, Counter::NoBuffers, 1);
            self.report.drop_frame(queue, &self.port.memory, self.rx.iter().flatten().count());
            return;
        }
        let mut parts = payload.chunks(rx.packet_buffer);
        for index in 0..needed {
            let part = parts.next().unwrap_or_default();
            let split = (is_split && index == 0).then_some(&frame.bytes[..header]);
            // Buffers outside the guest's memory stay empty; the completion still returns them.
            let _ = self.fill(queue, frame, split, part, index + 1 == needed);
        }
        let lab = &mut self.port.lab;
        lab.count(queue, Counter::Frames, 1);
        if is_split {
            lab.count(queue, Counter::Split, 1);
            lab.count(queue, Counter::SplitBytes, payload.len() as u32);
        } else if is_tcp {
            lab.count(queue, Counter::UnsplitBytes, (frame.bytes.len() - frame.payload_at) as u32);
        }
        if let Some(rx) = &self.rx[queue] {
            let vector = rx.vector;
            self.fire(vector);
        }
    }

    /// Fills the next buffer and writes its completion.
    fn fill(
        &mut self,
        queue: usize,
        frame: &Frame,
        header: Option<&[u8]>,
        part: &[u8],
        is_last: bool,
    ) -> Option<()> {
        let memory = &self.port.memory;
        let rx = self.rx[queue].as_mut()?;
        let buffer: [u8; BUFFER_BYTES as usize] =
            memory.read(rx.buffers.wrapping_add(BUFFER_BYTES * u64::from(rx.head))).unwrap_or_default();
        rx.head = (rx.head + 1) & (rx.buffer_ring - 1);
        let mut header_field = 0;
        if let Some(header) = header {
            let _ = memory.write(le64(&buffer, 16), header);
            header_field = header.len() as u16 & 0x3ff | SPLIT;
        }
        let _ = memory.write(le64(&buffer, 8), part);

        let kind = packet_type(frame);
        let mut completion = [0; COMPLETION_BYTES as usize];
        completion[0] = 1;
        put(&mut completion, 2, &kind.to_le_bytes());
        if let Some(size) = frame.segment_size {
            header_field |= COALESCED;
            put(&mut completion, 14, &(size as u16).to_le_bytes());
        }
        put(&mut completion, 6, &header_field.to_le_bytes());
        completion[8] = DONE | if is_last { END_OF_PACKET } else { 0 } | if kind == 0 { 0 } else { PARSED };
        // The buffer's id.
        put(&mut completion, 12, &buffer[..2]);
        put(&mut completion, 16, &self.rss.hash(frame).to_le_bytes());
        let address = rx.completions.wrapping_add(COMPLETION_BYTES * u64::from(rx.completion_head));
        let length = part.len() as u16 | if rx.generation { GENERATION } else { 0 };
        rx.completion_head = (rx.completion_head + 1) & (rx.size - 1);
        rx.generation ^= rx.completion_head == 0;
        memory.write(address, &completion[..4])?;
        memory.write(address.wrapping_add(6), &completion[6..])?;
        // The word with the generation hands the completion over.
        memory.publish(address.wrapping_add(4), length.to_le())
    }
}

/// Index in the map of packet types.
fn packet_type(frame: &Frame) -> u16 {
    let version = match frame.ip {
        None => return 0,
        Some(IpVersion::V4) => 0,
        Some(IpVersion::V6) => 1,
    };
    match frame.transport {
        Some(Transport::Tcp) => 1 + 3 * version,
        Some(Transport::Udp) => 2 + 3 * version,
        Some(Transport::Icmp) => 3 + 3 * version,
        None => 7 + version,
    }
}
