//! PCI configuration space.

use crate::bytes::put;

const STATUS: usize = 0x06;
const CAPABILITIES: usize = 0x34;
const FIRST_CAPABILITY: usize = 0x40;
const HAS_CAPABILITIES: u8 = 0x10;
const MSI_X: u8 = 0x11;

/// Who made a function, and what it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// Vendor, also of the subsystem.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Subsystem.
    pub subsystem: u16,
    /// Revision.
    pub revision: u8,
}

/// The configuration space of an Ethernet function.
#[derive(Debug)]
pub(crate) struct Config {
    bytes: Vec<u8>,
    writable: Vec<bool>,
    next: usize,
    link: usize,
}

impl Config {
    /// Makes a space of `size` bytes with nothing but the header.
    pub(crate) fn new(size: usize, identity: Identity) -> Self {
        let mut config = Self {
            bytes: vec![0; size],
            writable: vec![false; size],
            next: FIRST_CAPABILITY,
            link: CAPABILITIES,
        };
        config.set(0x00, &identity.vendor.to_le_bytes());
        config.set(0x02, &identity.device.to_le_bytes());
        config.set(STATUS, &[HAS_CAPABILITIES]);
        config.set(0x08, &[identity.revision]);
        // Network controller, Ethernet.
        config.set(0x0b, &[2]);
        config.set(0x2c, &identity.vendor.to_le_bytes());
        config.set(0x2e, &identity.subsystem.to_le_bytes());
        // Command and interrupt line.
        config.allow(0x04, 2);
        config.allow(0x3c, 1);
        config
    }

    /// Appends a capability, whose body follows its two-byte header, and returns its offset.
    pub(crate) fn capability(&mut self, id: u8, body: &[u8]) -> usize {
        let at = self.next;
        self.set(self.link, &[at as u8]);
        self.set(at, &[id, 0]);
        self.set(at + 2, body);
        self.link = at + 1;
        self.next = (at + 2 + body.len()).next_multiple_of(4);
        at
    }

    /// Appends the MSI-X capability: the table at the start of a BAR, the pending bits in its second half page.
    pub(crate) fn msix(&mut self, vectors: u16, bar: u8) {
        let (table, pending) = (u32::from(bar), 0x800 | u32::from(bar));
        let body = [&(vectors - 1).to_le_bytes()[..], &table.to_le_bytes(), &pending.to_le_bytes()].concat();
        let at = self.capability(MSI_X, &body);
        self.allow(at + 3, 1);
    }

    /// Sets bytes.
    pub(crate) fn set(&mut self, at: usize, bytes: &[u8]) {
        put(&mut self.bytes, at, bytes);
    }

    /// Lets the guest write bytes.
    pub(crate) fn allow(&mut self, at: usize, length: usize) {
        self.writable.iter_mut().skip(at).take(length).for_each(|byte| *byte = true);
    }

    /// Reads bytes for the guest; those beyond the end are zero.
    pub(crate) fn read(&self, at: usize, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.bytes.get(at.saturating_add(index)).copied().unwrap_or(0);
        }
    }

    /// Writes those bytes that the guest may write.
    pub(crate) fn write(&mut self, at: usize, data: &[u8]) {
        for (index, byte) in data.iter().enumerate() {
            let at = at.saturating_add(index);
            if self.writable.get(at) == Some(&true) {
                self.bytes[at] = *byte;
            }
        }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
