//! The admin queue: commands of 64 bytes, an opcode, a status and the opcode's own fields.

use super::receive::RxQueue;
use super::transmit::TxQueue;
use super::{Gvnic, RING_RANGE, RX_DOORBELLS, TX_DOORBELLS, VECTOR_DOORBELLS, VECTORS};
use crate::bytes::{be16, be32, be64};

/// Size of a command.
pub(super) const COMMAND_BYTES: usize = 64;

/// Most bytes that a command's own memory may have: one page, as the driver's buffers.
const PAGE: usize = 4096;

/// Queue format with raw addressing in DQO rings, the only one offered.
const DQO_RDA: u8 = 3;
/// Link speed, Mbit/s.
const LINK_SPEED: u64 = 100_000;
const CONFIGURE_FLOW_RULE: u32 = 0x101;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Passed,
    InvalidArgument,
    NotFound,
    OutOfRange,
    Unimplemented,
}

impl Status {
    /// The number the driver knows.
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Passed => 1,
            Self::InvalidArgument => 0xffff_fff7,
            Self::NotFound => 0xffff_fff8,
            Self::OutOfRange => 0xffff_fff9,
            Self::Unimplemented => 0xffff_fffe,
        }
    }

    /// A command fails where the memory it names is not the guest's.
    pub(super) fn of(written: Option<()>) -> Self {
        if written.is_some() { Self::Passed } else { Self::InvalidArgument }
    }
}

impl Gvnic {
    /// Carries out one command.
    pub(super) fn execute(&mut self, command: &[u8; COMMAND_BYTES]) -> Status {
        let fields = &command[8..];
        match be32(command, 0) {
            0x01 => self.describe(be64(fields, 0), be32(fields, 12)),
            0x02 => self.configure_resources(fields),
            0x05 => self.create_tx(fields),
            0x06 => self.create_rx(fields),
            0x07 => self.destroy_tx(be32(fields, 0)),
            0x08 => self.destroy_rx(be32(fields, 0)),
            0x09 => {
                self.release_resources();
                Status::Passed
            }
            0x0a => self.configure_rss(fields),
            // The MTU, which the device does not enforce.
            0x0b => Status::Passed,
            0x0c => {
                self.report.place(be64(fields, 8), be64(fields, 0));
                Status::Passed
            }
            0x0d => Status::of(self.port.memory.write(be64(fields, 0), &LINK_SPEED.to_be_bytes())),
            0x0e => self.write_packet_types(be64(fields, 8), be64(fields, 0)),
            0x0f => self.verify_driver(be64(fields, 8), be64(fields, 0)),
            0x10 => self.query_rules(fields),
            0xff => self.execute_extended(fields),
            _ => Status::Unimplemented,
        }
    }

    fn execute_extended(&mut self, fields: &[u8]) -> Status {
        if be32(fields, 0) != CONFIGURE_FLOW_RULE {
            return Status::Unimplemented;
        }
        match self.port.memory.read(be64(fields, 8)) {
            Some(rule) => self.configure_rule(&rule),
            None => Status::InvalidArgument,
        }
    }

    /// Reads memory that a command names, of at most one page.
    pub(super) fn command_memory(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok().filter(|&length| length <= PAGE)?;
        let mut bytes = Vec::new();
        self.port.memory.append(address, length, &mut bytes)?;
        Some(bytes)
    }

    fn verify_driver(&self, address: u64, length: u64) -> Status {
        let Some(info) = self.command_memory(address, length) else { return Status::InvalidArgument };
        let text = |at: usize| {
            let text = info.get(at..).unwrap_or_default();
            String::from_utf8_lossy(text.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
        };
        self.port.log(format_args!("driver of {} {}", text(48), text(176)));
        Status::Passed
    }

    /// Reports the doorbell of each vector to the driver.
    fn configure_resources(&mut self, fields: &[u8]) -> Status {
        let (address, count, stride) = (be64(fields, 8), be32(fields, 20), be32(fields, 24));
        if fields[32] != DQO_RDA || count > u32::from(VECTORS) {
            return Status::InvalidArgument;
        }
        let written = (0..count).try_for_each(|vector| {
            let place = address.checked_add(u64::from(vector) * u64::from(stride))?;
            self.port.memory.write(place, &(VECTOR_DOORBELLS as u32 + vector).to_be_bytes())
        });
        Status::of(written)
    }

    /// Forgets queues, rules and all else that was configured.
    fn release_resources(&mut self) {
        self.notify = Default::default();
        self.tx = Default::default();
        self.rx = Default::default();
        self.rules = super::Rules::default();
        self.rss = super::Rss::default();
        self.report = super::Report::default();
    }

    fn create_tx(&mut self, fields: &[u8]) -> Status {
        let queue = TxQueue::new(
            be64(fields, 16),
            be64(fields, 32),
            be16(fields, 40),
            be16(fields, 42),
            be32(fields, 28),
        );
        let Some(place) = self.tx.get_mut(be32(fields, 0) as usize) else { return Status::OutOfRange };
        let Some(queue) = queue else { return Status::InvalidArgument };
        *place = Some(queue);
        self.write_doorbell(be64(fields, 8), TX_DOORBELLS as u32 + be32(fields, 0))
    }

    fn create_rx(&mut self, fields: &[u8]) -> Status {
        let Some(queue) = RxQueue::new(fields) else { return Status::InvalidArgument };
        let Some(place) = self.rx.get_mut(be32(fields, 0) as usize) else { return Status::OutOfRange };
        self.port.log(format_args!("receive queue {}: {queue:?}", be32(fields, 0)));
        *place = Some(queue);
        self.write_doorbell(be64(fields, 16), RX_DOORBELLS as u32 + be32(fields, 0))
    }

    fn write_doorbell(&self, address: u64, doorbell: u32) -> Status {
        Status::of(self.port.memory.write(address, &doorbell.to_be_bytes()))
    }

    fn destroy_tx(&mut self, queue: u32) -> Status {
        match self.tx.get_mut(queue as usize) {
            None => Status::OutOfRange,
            Some(place) => {
                *place = None;
                Status::Passed
            }
        }
    }

    fn destroy_rx(&mut self, queue: u32) -> Status {
        match self.rx.get_mut(queue as usize) {
            None => Status::OutOfRange,
            Some(place) => {
                *place = None;
                Status::Passed
            }
        }
    }
}

/// The size of a ring, if a device may have it.
pub(super) fn ring_size(entries: u16) -> Option<u16> {
    (entries.is_power_of_two() && RING_RANGE.contains(&entries)).then_some(entries)
}
