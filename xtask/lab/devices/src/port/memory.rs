//! The guest's memory as a device reaches it: every access is checked against what QEMU has mapped.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::{AtomicAccess, Bytes, FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap};

/// Guest memory, by guest-physical address.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    regions: GuestMemoryMmap,
}

impl Memory {
    /// Maps a part of a file at a guest address.
    pub(crate) fn map(&mut self, address: u64, size: u64, file: File, offset: u64) -> io::Result<()> {
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let file = FileOffset::new(file, offset);
        let region = GuestRegionMmap::from_range(GuestAddress(address), size, Some(file));
        let region = region.map_err(io::Error::other)?;
        self.regions = self.regions.insert_region(Arc::new(region)).map_err(io::Error::other)?;
        Ok(())
    }

    /// Removes what was mapped with this address and size; unknown ranges (read-only memory) are ignored.
    pub(crate) fn unmap(&mut self, address: u64, size: u64) {
        if let Ok((regions, _)) = self.regions.remove_region(GuestAddress(address), size) {
            self.regions = regions;
        }
    }

    /// Removes everything.
    pub(crate) fn unmap_all(&mut self) {
        self.regions = GuestMemoryMmap::default();
    }

    /// Reads `N` bytes; `None` unless all of them are mapped.
    pub(crate) fn read<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.regions.read_slice(&mut bytes, GuestAddress(address)).ok()?;
        Some(bytes)
    }

    /// Appends bytes of the guest to a buffer; `None`, and the buffer as it was, unless all are mapped.
    pub(crate) fn append(&self, address: u64, length: usize, to: &mut Vec<u8>) -> Option<()> {
        let old = to.len();
        to.resize(old + length, 0);
        let read = self.regions.read_slice(&mut to[old..], GuestAddress(address));
        if read.is_err() {
            to.truncate(old);
        }
        read.ok()
    }

    /// Writes bytes; `None` unless all of them are mapped.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Option<()> {
        self.regions.write_slice(bytes, GuestAddress(address)).ok()
    }

    /// Writes the number that hands a descriptor to the guest, after everything written before it.
    pub(crate) fn publish<T: AtomicAccess>(&self, address: u64, value: T) -> Option<()> {
        self.regions.store(value, GuestAddress(address), Ordering::Release).ok()
    }

    #[cfg(test)]
    pub(crate) fn anonymous(size: usize) -> Self {
        let regions = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]);
        Self { regions: regions.expect("anonymous memory can be mapped") }
    }
}
