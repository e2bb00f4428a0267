//! The registers in BAR 0: device and driver status, and the admin queue.

use super::Gvnic;
use super::admin::COMMAND_BYTES;
use crate::bytes::{be32, be64, put};
use crate::nic::Nic as _;

const DEVICE_STATUS: usize = 0x00;
const DRIVER_STATUS: usize = 0x04;
const MAX_TX_QUEUES: usize = 0x08;
const MAX_RX_QUEUES: usize = 0x0c;
const ADMIN_DOORBELL: usize = 0x14;
const ADMIN_EVENTS: usize = 0x18;
const ADMIN_BASE: usize = 0x20;
const BYTES: usize = 0x2a;

const LINK_UP: u32 = 1 << 2;
const IS_RESET: u32 = 1 << 4;
const DRIVER_RUN: u32 = 1 << 0;
const DRIVER_RESET: u32 = 1 << 1;

/// Commands in the admin queue, which is one page.
const COMMANDS: u32 = 64;

/// The registers as the guest last wrote or reads them.
#[derive(Debug)]
pub(super) struct Registers {
    bytes: [u8; BYTES],
    /// Commands that were carried out since the driver set the queue.
    events: u32,
}

impl Registers {
    /// Registers after power-on.
    pub(super) fn new(queues: u32) -> Self {
        let mut registers = Self { bytes: [0; BYTES], events: 0 };
        registers.set(DEVICE_STATUS, LINK_UP);
        registers.set(MAX_TX_QUEUES, queues);
        registers.set(MAX_RX_QUEUES, queues);
        registers
    }

    /// The device was reset, and says so until the driver runs again.
    pub(super) fn reset(&mut self) {
        self.set_events(0);
        self.set(DEVICE_STATUS, LINK_UP | IS_RESET);
    }

    /// Reads bytes; those beyond the registers are zero.
    pub(super) fn read(&self, offset: usize, data: &mut [u8]) {
        put(data, 0, self.bytes.get(offset..).unwrap_or_default());
    }

    fn set(&mut self, register: usize, value: u32) {
        put(&mut self.bytes, register, &value.to_be_bytes());
    }

    fn set_events(&mut self, events: u32) {
        self.events = events;
        self.set(ADMIN_EVENTS, events);
    }
}

impl Gvnic {
    /// The guest writes a register.
    pub(super) fn write_register(&mut self, offset: usize, data: &[u8]) {
        match (offset, data.len()) {
            (DRIVER_STATUS, 4) => self.set_driver_status(be32(data, 0)),
            (ADMIN_DOORBELL, 4) => self.run_admin_queue(be32(data, 0)),
            (ADMIN_BASE..BYTES, _) => put(&mut self.registers.bytes, offset, data),
            _ => {}
        }
    }

    fn set_driver_status(&mut self, status: u32) {
        if status & DRIVER_RUN != 0 {
            self.registers.set_events(0);
            self.registers.set(DEVICE_STATUS, LINK_UP);
        }
        if status & DRIVER_RESET != 0 {
            self.port.log(format_args!("reset by the driver"));
            self.reset();
        }
    }

    /// Carries out commands up to the driver's position, at most a full queue of them.
    fn run_admin_queue(&mut self, end: u32) {
        let base = be64(&self.registers.bytes, ADMIN_BASE);
        for _ in 0..COMMANDS {
            let at = self.registers.events;
            if at == end {
                return;
            }
            let address = base.wrapping_add(u64::from(at % COMMANDS) * COMMAND_BYTES as u64);
            let Some(command) = self.port.memory.read(address) else { return };
            let status = self.execute(&command);
            self.port.log(format_args!("admin command {:#x}: {status:?}", be32(&command, 0)));
            // The status follows the opcode. A queue that can be read can be written.
            self.port.memory.write(address.wrapping_add(4), &status.code().to_be_bytes());
            self.registers.set_events(at.wrapping_add(1));
        }
    }
}
