//! Memory to register, mapped once and never unmapped: no queue can outlive it.

use std::ptr::{self, NonNull};

use anyhow::Context;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Pages of the area.
pub(crate) const AREA_PAGES: usize = 16;

/// Room for the biggest refill ring and any kernel's header.
pub(crate) const BIGGEST_REGION: usize = 1 << 20;

/// A region for the refill ring and an area.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    region: NonNull<u8>,
    region_bytes: usize,
    area: NonNull<u8>,
}

/// The area's length.
pub(crate) fn area_bytes() -> u64 {
    (AREA_PAGES * rustix::param::page_size()) as u64
}

impl Memory {
    /// Maps both, zeroed.
    pub(crate) fn new(region_bytes: usize) -> anyhow::Result<Self> {
        let page = rustix::param::page_size();
        Ok(Self { region: map(region_bytes)?, region_bytes, area: map(AREA_PAGES * page)? })
    }

    /// The region's first byte.
    pub(crate) fn region(self) -> NonNull<u8> {
        self.region
    }

    /// The region's address, as the kernel wants it.
    pub(crate) fn region_address(self) -> u64 {
        self.region.as_ptr().expose_provenance() as u64
    }

    /// The region's length.
    pub(crate) fn region_bytes(self) -> u64 {
        self.region_bytes as u64
    }

    /// The area's address.
    pub(crate) fn area_address(self) -> u64 {
        self.area.as_ptr().expose_provenance() as u64
    }
}

fn map(bytes: usize) -> anyhow::Result<NonNull<u8>> {
    // SAFETY: no address is asked for, so nothing that exists is replaced.
    let start = unsafe {
        mmap_anonymous(
            ptr::null_mut(),
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::POPULATE,
        )
    }
    .context("mapping memory")?;
    NonNull::new(start.cast()).context("memory at address 0")
}
