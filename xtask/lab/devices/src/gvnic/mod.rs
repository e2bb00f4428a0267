//! Google's virtual NIC (gVNIC), in the DQO format with raw addressing, as Linux' gve driver uses it.
//!
//! Registers in BAR 0 and the admin queue are big-endian, doorbells in BAR 2 and DQO descriptors little-endian.

mod admin;
mod describe;
mod receive;
mod registers;
mod report;
mod rss;
mod rules;
mod transmit;

use self::receive::RxQueue;
use self::registers::Registers;
use self::report::Report;
use self::rss::Rss;
use self::rules::Rules;
use self::transmit::TxQueue;
use crate::bytes::le32;
use crate::nic::{BARS, Nic};
use crate::port::{Config, Identity, Port};
use crate::wire::Frame;

/// Queue pairs.
const QUEUES: usize = 4;
/// One vector for each queue and one for management.
const VECTORS: u16 = 2 * QUEUES as u16 + 1;
/// Entries of a ring, as the driver finds it and at most.
const RING: u16 = 1024;
const RING_RANGE: std::ops::RangeInclusive<u16> = 256..=4096;

/// Doorbells, by index of their 32-bit words in BAR 2.
const TX_DOORBELLS: usize = 0;
const RX_DOORBELLS: usize = 256;
const VECTOR_DOORBELLS: usize = 2048;
const DOORBELL_BYTES: u64 = 0x4000;

/// Enables a vector, in its doorbell.
const VECTOR_ENABLE: u32 = 1;

/// A vector's state: it masks itself when it fires, and remembers that it wants to fire again.
#[derive(Clone, Copy, Debug, Default)]
struct Notify {
    is_enabled: bool,
    is_pending: bool,
}

/// One gVNIC function.
#[derive(Debug)]
pub(crate) struct Gvnic {
    port: Port,
    mac: [u8; 6],
    registers: Registers,
    notify: [Notify; VECTORS as usize],
    tx: [Option<TxQueue>; QUEUES],
    rx: [Option<RxQueue>; QUEUES],
    rules: Rules,
    rss: Rss,
    report: Report,
}

impl Gvnic {
    /// Signals to the driver that a queue has completions.
    fn fire(&mut self, vector: usize) {
        let Some(notify) = self.notify.get_mut(vector) else { return };
        notify.is_pending = !notify.is_enabled;
        if notify.is_enabled {
            notify.is_enabled = false;
            self.port.raise(vector);
        }
    }

    fn doorbell(&mut self, index: usize, value: u32) {
        if let Some(vector) = index.checked_sub(VECTOR_DOORBELLS) {
            if let Some(notify) = self.notify.get_mut(vector)
                && value & VECTOR_ENABLE != 0
            {
                notify.is_enabled = true;
                if notify.is_pending {
                    self.fire(vector);
                }
            }
        } else if let Some(queue) = index.checked_sub(RX_DOORBELLS) {
            if let Some(Some(queue)) = self.rx.get_mut(queue) {
                queue.post(value);
            }
        } else if let Some(Some(queue)) = self.tx.get_mut(index - TX_DOORBELLS) {
            queue.announce(value);
        }
    }
}

impl Nic for Gvnic {
    const BARS: [u64; BARS] = [0x1000, 0x1000, DOORBELL_BYTES, 0, 0, 0];
    const CONFIG_SIZE: u64 = 256;
    const VECTORS: u16 = VECTORS;

    fn new(name: &'static str, number: u8) -> Self {
        // From revision 1 on the admin queue is set by address instead of page number.
        let identity = Identity { vendor: 0x1ae0, device: 0x0042, subsystem: 0x0058, revision: 1 };
        let mut config = Config::new(Self::CONFIG_SIZE as usize, identity);
        config.msix(VECTORS, 1);
        Self {
            port: Port::new(name, config, VECTORS),
            mac: [2, 0, 0, 0, 0, number],
            registers: Registers::new(QUEUES as u32),
            notify: Default::default(),
            tx: Default::default(),
            rx: Default::default(),
            rules: Rules::default(),
            rss: Rss::default(),
            report: Report::default(),
        }
    }

    fn port(&mut self) -> &mut Port {
        &mut self.port
    }

    fn read(&mut self, bar: usize, offset: usize, data: &mut [u8]) {
        if bar == 0 {
            self.registers.read(offset, data);
        }
    }

    fn write(&mut self, bar: usize, offset: usize, data: &[u8]) {
        match bar {
            0 => self.write_register(offset, data),
            2 if data.len() == 4 => self.doorbell(offset / 4, le32(data, 0)),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.notify = Default::default();
        self.tx = Default::default();
        self.rx = Default::default();
        self.rules = Rules::default();
        self.rss = Rss::default();
        self.report = Report::default();
        self.registers.reset();
    }

    fn transmit(&mut self) -> Option<Frame> {
        (0..QUEUES).find_map(|queue| self.transmit_from(queue))
    }

    fn has_room(&self) -> bool {
        // A gVNIC drops what it has no buffer for.
        true
    }

    fn receive(&mut self, frame: &Frame) {
        let queue = self.steer(frame);
        let is_kept_whole = match &self.rx[queue] {
            None => return,
            Some(rx) => frame.segment_size.is_none() || rx.coalesces(frame),
        };
        if is_kept_whole {
            self.place(queue, frame);
        } else {
            for segment in frame.segments() {
                self.place(queue, &segment);
            }
        }
    }
}
