//! Receive queues: headers go to header pages, payload to payload pages, completions say where.
//!
//! A queue whose driver has posted too few pages drops a frame, or (while pause frames are on, as they are at first) holds
//! it, and with it every frame behind it, of whatever queue. While too much waits the NIC sends pause frames. After half a
//! second of that it stops sending them, which ends the pause but not the waiting; the driver's service task re-enables
//! them. That is our reading of the driver's register names and comments: the chip itself is not public.

use std::time::{Duration, Instant};

use super::csr::{self, QUEUE_STRIDE, QUEUES_AT, bits, queue};
use super::rings::distance;
use super::{BUFFER_BYTES, Fbnic, PAUSE_BYTES, TRIADS};
use crate::port::Counter;
use crate::wire::{Frame, IpVersion, Transport};

const PAGE: usize = 4096;
const PAGE_ADDRESS: u64 = 0x3fff_ffff_f000;
const SPLIT: u64 = 1 << 31;
const DROP_NEVER: u64 = 2;

/// Completions by type, with their fields.
const PAYLOAD: u64 = 1 << 61;
const META: u64 = 3 << 61;
const PAGE_FINISHED: u64 = 1 << 60;
const HINT_TRANSPORT: u64 = 4 << 54;
const CHECKSUM_GOOD: u64 = 1 << 52;

/// Where a frame goes in a queue's pages.
struct Plan {
    header: usize,
    header_head: usize,
    header_offset: usize,
    payload_pages: usize,
    has_header_page: bool,
    has_payload_pages: bool,
    has_completions: bool,
}

impl Fbnic {
    /// Takes a frame for a queue: delivers it, drops it, or lets it wait.
    pub(super) fn accept(&mut self, triad: usize, frame: Frame) {
        if !self.is_receiving(triad) {
            return;
        }
        if self.waiting.is_empty() && self.deliver(triad, &frame) {
            return;
        }
        self.port.lab.count(triad, Counter::Held, 1);
        if self.waiting_bytes + frame.bytes.len() > BUFFER_BYTES {
            self.count_in_register(csr::RXB_DROPPED_FRAMES);
            return;
        }
        self.waiting_bytes += frame.bytes.len();
        self.waiting.push_back((triad, frame));
    }

    /// Delivers what waits, up to the first frame that still has to.
    pub(super) fn drain(&mut self) {
        while let Some((triad, frame)) = self.waiting.pop_front() {
            if self.is_receiving(triad) && !self.deliver(triad, &frame) {
                self.waiting.push_front((triad, frame));
                return;
            }
            self.waiting_bytes -= frame.bytes.len();
        }
    }

    /// Notices when pause begins, lasts too long, and ends.
    pub(super) fn watch_pause(&mut self) {
        if self.waiting_bytes < PAUSE_BYTES {
            self.paused_since = None;
        } else if !self.is_storm {
            let since = *self.paused_since.get_or_insert_with(Instant::now);
            let units = self.register(csr::PAUSE_STORM) & csr::PAUSE_STORM_TIME;
            let is_protected =
                self.register(csr::PAUSE_DROP_CTRL) & csr::PAUSE_STORM_ENABLE != 0 && units > 0;
            if is_protected && since.elapsed() >= Duration::from_micros(10 * u64::from(units)) {
                self.is_storm = true;
                self.count_in_register(csr::PAUSE_STORMS);
            }
        }
    }

    /// The driver re-enables pause frames.
    pub(super) fn end_storm(&mut self) {
        self.is_storm = false;
        self.paused_since = None;
    }

    fn is_receiving(&self, triad: usize) -> bool {
        let is_on = |register| self.queue_register(triad, register) & queue::ENABLE != 0;
        triad < TRIADS && is_on(queue::RCQ_CTL) && is_on(queue::BDQ_CTL)
    }

    /// Puts a frame into a queue, or drops it; false if it has to wait.
    fn deliver(&mut self, triad: usize, frame: &Frame) -> bool {
        let plan = self.plan(triad, frame);
        if plan.has_header_page && plan.has_payload_pages && plan.has_completions {
            // Rings or pages outside the guest's memory swallow the frame.
            let _ = self.write_frame(triad, frame, &plan);
            self.fire(self.queue_register(triad, queue::RIM_CTL) & 0xff);
            return true;
        }
        if bits(u64::from(self.queue_register(triad, queue::RDE_CTL0)), 30, 29) == DROP_NEVER {
            return false;
        }
        let counter = if plan.has_completions { queue::RDE_BDQ_DROP_CNT } else { queue::RDE_CQ_DROP_CNT };
        self.count_in_register(QUEUES_AT + QUEUE_STRIDE * triad + counter);
        self.port.lab.count(triad, Counter::NoBuffers, 1);
        true
    }

    fn plan(&mut self, triad: usize, frame: &Frame) -> Plan {
        let loses_split = frame.transport == Some(Transport::Tcp) && self.port.loses_split();
        let control = u64::from(self.queue_register(triad, queue::RDE_CTL0));
        let most_header = bits(u64::from(self.queue_register(triad, queue::RDE_CTL1)), 24, 12) as usize;
        let (head_room, tail_room) = (bits(control, 28, 20) as usize, bits(control, 19, 11) as usize);
        let length = frame.bytes.len();
        let most_header = most_header.min(PAGE - head_room.min(PAGE / 2) - tail_room.min(PAGE / 2));
        let header = if (control & SPLIT == 0 || loses_split) && length <= most_header {
            length
        } else if frame.payload_at > 0 {
            frame.payload_at
        } else if frame.ip.is_some() {
            frame.transport_at
        } else {
            length
        };
        let header = header.min(most_header).min(length);
        let sizes = [queue::BDQ_HPQ_SIZE, queue::BDQ_PPQ_SIZE, queue::RCQ_SIZE]
            .map(|size| self.ring_size(triad, size));
        let [header_size, payload_size, completion_size] = sizes;
        let triad = &self.triads[triad];
        let first = head_room.next_multiple_of(128);
        let (mut header_head, mut header_offset) =
            (triad.header_head, if triad.header_offset == 0 { first } else { triad.header_offset });
        if header_offset + header + tail_room > PAGE {
            (header_head, header_offset) = ((header_head + 1) & (header_size - 1), first);
        }
        let payload_pages = (length - header).div_ceil(PAGE);
        let used = distance(triad.rx_completion_head, triad.rx_completion, completion_size);
        Plan {
            header,
            header_head,
            header_offset,
            payload_pages,
            has_header_page: distance(triad.header_head, triad.header_tail, header_size)
                > distance(triad.header_head, header_head, header_size),
            has_payload_pages: distance(triad.payload_head, triad.payload_tail, payload_size)
                >= payload_pages,
            // One each for header and metadata, and one that stays free.
            has_completions: used + payload_pages + 3 < completion_size,
        }
    }

    fn write_frame(&mut self, triad: usize, frame: &Frame, plan: &Plan) -> Option<()> {
        let (header, payload) = frame.bytes.split_at(plan.header);
        let mut completions = Vec::new();

        let page = self.read_descriptor(self.ring_base(triad, queue::BDQ_HPQ_BASE), plan.header_head)?;
        self.port.memory.write((page & PAGE_ADDRESS) + plan.header_offset as u64, header)?;
        let place = (header.len() as u64) << 16 | (plan.header_offset as u64) << 32;
        completions.push(page >> 48 | place | HINT_TRANSPORT);

        let pages = self.ring_base(triad, queue::BDQ_PPQ_BASE);
        let mask = self.ring_size(triad, queue::BDQ_PPQ_SIZE) - 1;
        let first = self.triads[triad].payload_head;
        for (index, part) in payload.chunks(PAGE).enumerate() {
            let page = self.read_descriptor(pages, (first + index) & mask)?;
            self.port.memory.write(page & PAGE_ADDRESS, part)?;
            completions.push(page >> 48 | (part.len() as u64) << 16 | PAGE_FINISHED | PAYLOAD);
        }
        completions.push(self.metadata(frame));

        let (base, size) = (self.ring_base(triad, queue::RCQ_BASE), self.ring_size(triad, queue::RCQ_SIZE));
        for completion in completions {
            let position = self.triads[triad].rx_completion;
            self.write_completion(base, size, position, completion)?;
            self.triads[triad].rx_completion = (position + 1) & (2 * size - 1);
        }
        let head_room = bits(u64::from(self.queue_register(triad, queue::RDE_CTL0)), 28, 20) as usize;
        let tail_room = bits(u64::from(self.queue_register(triad, queue::RDE_CTL0)), 19, 11) as usize;
        let rings = &mut self.triads[triad];
        rings.header_head = plan.header_head;
        rings.header_offset =
            (plan.header_offset + plan.header + tail_room + head_room).next_multiple_of(128);
        rings.payload_head = (first + plan.payload_pages) & mask;

        self.count_in_register(QUEUES_AT + QUEUE_STRIDE * triad + queue::RDE_PKT_CNT);
        self.port.lab.count(triad, Counter::Frames, 1);
        if !payload.is_empty() {
            self.port.lab.count(triad, Counter::Split, 1);
            self.port.lab.count(triad, Counter::SplitBytes, payload.len() as u32);
        } else if frame.transport == Some(Transport::Tcp) {
            self.port.lab.count(triad, Counter::UnsplitBytes, (frame.bytes.len() - frame.payload_at) as u32);
        }
        Some(())
    }

    fn metadata(&self, frame: &Frame) -> u64 {
        let network = match frame.ip {
            None => 0,
            Some(IpVersion::V4) => 1,
            Some(IpVersion::V6) => 2,
        };
        let transport = match frame.transport {
            Some(Transport::Tcp) => 1,
            Some(Transport::Udp) => 2,
            Some(Transport::Icmp) | None => 0,
        };
        u64::from(self.flow_hash(frame)) | network << 48 | transport << 50 | CHECKSUM_GOOD | META
    }
}
