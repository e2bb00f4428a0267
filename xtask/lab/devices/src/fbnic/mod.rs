//! Meta's host NIC, as Linux' fbnic driver uses it.
//!
//! Registers of BAR 0 and BAR 4 are 32-bit words, numbered as in the driver's `fbnic_csr.h`. Almost all of the device's
//! state is what the driver wrote there; what else a queue triad has to know is in [`Triad`].

mod classify;
mod csr;
mod firmware;
mod interrupts;
mod receive;
mod rings;
mod transmit;

use std::collections::VecDeque;
use std::time::Instant;

use self::csr::{QUEUE_STRIDE, QUEUES_AT, queue};
use self::firmware::Firmware;
use self::interrupts::Interrupts;
use crate::bytes::{le32, put};
use crate::nic::{BARS, Nic};
use crate::port::{Config, Identity, Port};
use crate::wire::Frame;

/// Queue triads (transmit, receive, buffers) that have state.
const TRIADS: usize = 8;
/// Firmware, PCS and six for queues.
const VECTORS: u16 = 8;
const BAR0_BYTES: u64 = 0x20_0000;
const MSIX_BYTES: u64 = 0x1000;
const BAR4_BYTES: u64 = 0x2_0000;

/// Bytes between wire and queues at which the NIC sends pause frames, and what it holds at most.
const PAUSE_BYTES: usize = 384 << 10;
const BUFFER_BYTES: usize = 2 * PAUSE_BYTES;

/// Positions in the rings of one queue triad.
#[derive(Clone, Debug, Default)]
struct Triad {
    tx_head: usize,
    tx_tail: usize,
    /// Next transmit completion; counts two laps, for the done bit.
    tx_completion: usize,
    header_head: usize,
    header_tail: usize,
    /// Where the next header goes in the current page; 0 for a page not begun.
    header_offset: usize,
    payload_head: usize,
    payload_tail: usize,
    /// Next receive completion; counts two laps, for the done bit.
    rx_completion: usize,
    rx_completion_head: usize,
}

/// One fbnic function.
#[derive(Debug)]
pub(crate) struct Fbnic {
    port: Port,
    registers: Vec<u32>,
    firmware: Firmware,
    interrupts: Interrupts,
    triads: [Triad; TRIADS],
    /// Frames on their way from the wire to queues, each with its queue. While the first has to wait, all do.
    waiting: VecDeque<(usize, Frame)>,
    waiting_bytes: usize,
    /// Since when pause frames are sent.
    paused_since: Option<Instant>,
    is_storm: bool,
    started: Instant,
}

impl Fbnic {
    /// A register; 0 beyond the last.
    fn register(&self, index: usize) -> u32 {
        self.registers.get(index).copied().unwrap_or(0)
    }

    /// A register of a queue triad.
    fn queue_register(&self, triad: usize, register: usize) -> u32 {
        self.register(QUEUES_AT + QUEUE_STRIDE * triad + register)
    }

    fn count_in_register(&mut self, index: usize) {
        if let Some(register) = self.registers.get_mut(index) {
            *register = register.wrapping_add(1);
        }
    }

    /// Time that fits nanosecond counters for five centuries.
    fn uptime_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn read_register(&self, index: usize) -> u32 {
        match index {
            csr::INTR_STATUS => self.interrupts.status(),
            csr::INTR_MASK => self.interrupts.mask(),
            csr::SIG_PCS_OUT0 => csr::PCS_LINK_AND_LOCKS,
            csr::SIG_PCS_OUT1 => csr::PCS_FEC_LOCKS,
            csr::PTP_TIME_HIGH => (self.uptime_ns() >> 32) as u32,
            csr::PTP_TIME_LOW => self.uptime_ns() as u32,
            _ if csr::IDLE.iter().any(|idle| idle.contains(&index)) => u32::MAX,
            _ => self.register(index),
        }
    }

    fn write_register(&mut self, index: usize, value: u32) {
        if self.write_interrupt_register(index, value) || csr::READ_ONLY.contains(&index) {
            return;
        }
        let Some(register) = self.registers.get_mut(index) else { return };
        *register = value;
        if index == csr::PAUSE_STORM && value & csr::PAUSE_STORM_FORCE_NORMAL != 0 {
            self.end_storm();
        } else if let Some(at) = index.checked_sub(QUEUES_AT)
            && at / QUEUE_STRIDE < TRIADS
        {
            self.write_queue_register(at / QUEUE_STRIDE, at % QUEUE_STRIDE, value);
        }
    }

    fn write_queue_register(&mut self, triad: usize, register: usize, value: u32) {
        let mask = |size: usize| value as usize & (size - 1);
        let ring = |register| self.ring_size(triad, register);
        match register {
            queue::TWQ0_TAIL => self.triads[triad].tx_tail = mask(ring(queue::TWQ0_SIZE)),
            queue::BDQ_HPQ_TAIL => self.triads[triad].header_tail = mask(ring(queue::BDQ_HPQ_SIZE)),
            queue::BDQ_PPQ_TAIL => self.triads[triad].payload_tail = mask(ring(queue::BDQ_PPQ_SIZE)),
            queue::RCQ_HEAD => self.triads[triad].rx_completion_head = mask(ring(queue::RCQ_SIZE)),
            queue::TWQ0_CTL if value & queue::RESET != 0 => {
                let triad = &mut self.triads[triad];
                (triad.tx_head, triad.tx_tail) = (0, 0);
            }
            queue::TCQ_CTL if value & queue::RESET != 0 => self.triads[triad].tx_completion = 0,
            queue::RCQ_CTL if value & queue::RESET != 0 => {
                let triad = &mut self.triads[triad];
                (triad.rx_completion, triad.rx_completion_head) = (0, 0);
            }
            queue::BDQ_CTL if value & queue::RESET != 0 => {
                let triad = &mut self.triads[triad];
                (triad.header_head, triad.header_tail, triad.header_offset) = (0, 0, 0);
                (triad.payload_head, triad.payload_tail) = (0, 0);
            }
            queue::RCQ_CTL if value & queue::ENABLE != 0 => self.log_queue(triad),
            _ => {}
        }
        if matches!(register, queue::BDQ_HPQ_TAIL | queue::BDQ_PPQ_TAIL | queue::RCQ_HEAD | queue::RCQ_CTL) {
            self.drain();
        }
    }

    fn log_queue(&self, triad: usize) {
        let rings = [queue::RCQ_SIZE, queue::BDQ_HPQ_SIZE, queue::BDQ_PPQ_SIZE]
            .map(|size| self.ring_size(triad, size));
        let control = self.queue_register(triad, queue::RDE_CTL0);
        self.port.log(format_args!(
            "receive queue {triad} on: completions, headers, payload {rings:?}; control {control:#x}"
        ));
    }
}

impl Nic for Fbnic {
    const BARS: [u64; BARS] = [BAR0_BYTES, 0, MSIX_BYTES, 0, BAR4_BYTES, 0];
    const CONFIG_SIZE: u64 = 4096;
    const VECTORS: u16 = VECTORS;

    fn new(name: &'static str, number: u8) -> Self {
        Self {
            port: Port::new(name, configuration(number), VECTORS),
            registers: csr::after_power_on((BAR0_BYTES / 4) as usize),
            firmware: Firmware::new((BAR4_BYTES / 4) as usize),
            interrupts: Interrupts::default(),
            triads: Default::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            paused_since: None,
            is_storm: false,
            started: Instant::now(),
        }
    }

    fn port(&mut self) -> &mut Port {
        &mut self.port
    }

    fn read(&mut self, bar: usize, offset: usize, data: &mut [u8]) {
        for at in (0..data.len()).step_by(4) {
            let index = offset / 4 + at / 4;
            let word = match bar {
                0 => self.read_register(index),
                4 => self.firmware.read(index),
                _ => 0,
            };
            put(data, at, &word.to_le_bytes()[offset % 4..]);
        }
    }

    fn write(&mut self, bar: usize, offset: usize, data: &[u8]) {
        for (at, word) in data.chunks_exact(4).enumerate() {
            let (index, value) = (offset / 4 + at, le32(word, 0));
            match bar {
                0 => self.write_register(index, value),
                4 => self.write_mailbox(index, value),
                _ => {}
            }
        }
    }

    fn reset(&mut self) {
        self.triads = Default::default();
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.paused_since = None;
        self.is_storm = false;
        self.interrupts = Interrupts::default();
        self.firmware.reset();
        self.registers[QUEUES_AT..].fill(0);
        // Reception is off until the driver enables it.
        self.registers[csr::RPC_RMI_CONFIG] = 0;
    }

    fn transmit(&mut self) -> Option<Frame> {
        (0..TRIADS).find_map(|triad| self.transmit_from(triad))
    }

    fn has_room(&self) -> bool {
        self.waiting_bytes < PAUSE_BYTES || self.is_storm
    }

    fn receive(&mut self, frame: &Frame) {
        // The driver segments large packets' headers for the device to cut, and nothing puts them together again.
        for segment in frame.segments() {
            if let Some(triad) = self.classify(&segment) {
                self.accept(triad, segment);
            }
        }
    }

    fn tick(&mut self) {
        self.watch_pause();
    }
}

/// Configuration space: PCI Express and a serial number, without which the driver does not probe.
fn configuration(number: u8) -> Config {
    let identity = Identity { vendor: 0x1d9b, device: 0x0013, subsystem: 0, revision: 0 };
    let mut config = Config::new(Fbnic::CONFIG_SIZE as usize, identity);
    let mut express = [0; 0x3a];
    // Version 2, endpoint; payload of up to 128 bytes; read requests of 512 bytes; 16 lanes of 8 GT/s, up.
    put(&mut express, 0x00, &[0x02, 0x00]);
    put(&mut express, 0x02, &0x8000_u32.to_le_bytes());
    put(&mut express, 0x06, &0x2810_u16.to_le_bytes());
    put(&mut express, 0x0a, &0x0010_0103_u32.to_le_bytes());
    put(&mut express, 0x10, &0x1103_u16.to_le_bytes());
    let at = config.capability(0x10, &express);
    config.allow(at + 8, 2);
    config.msix(VECTORS, 2);
    // The driver takes the MAC address from the serial number, leaving its two middle bytes out.
    let serial = 0x0200_00ff_ff00_0000_u64 | u64::from(number);
    config.set(0x100, &0x0001_0003_u32.to_le_bytes());
    config.set(0x104, &(serial as u32).to_le_bytes());
    config.set(0x108, &((serial >> 32) as u32).to_le_bytes());
    config
}
