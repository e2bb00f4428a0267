//! The memory that is registered with a queue.

use std::io;
use std::sync::Arc;

use crate::receive::config::QueueConfig;
use crate::receive::mapping::{Mapping, huge_bytes, page_bytes, whole_pages};
use zcrx_uapi::zcrx::IORING_MEM_REGION_TYPE_USER;
use zcrx_uapi::{RegionDesc, ZcrxAreaReg, ZcrxRqe};

/// Memory to register: the area, and a region for the refill ring with room for statistics behind it.
pub(super) struct Area {
    pub(super) memory: Mapping,
    pub(super) region: Arc<Mapping>,
    pub(super) reg: ZcrxAreaReg,
    pub(super) region_desc: RegionDesc,
}

impl Area {
    /// Maps what `config` asks for, in buffers of `buffer_bytes`. `behind` bytes are added behind the refill ring's
    /// entries. A `shared` area lies in memory files that another process can map, unless it needs huge pages.
    pub(super) fn new(
        config: &QueueConfig,
        buffer_bytes: u64,
        behind: usize,
        shared: bool,
    ) -> io::Result<Self> {
        let shared = shared && buffer_bytes <= page_bytes() as u64;
        let memory = if shared {
            Mapping::shared(usize::try_from(config.area_bytes).map_err(|_| too_big())?)?
        } else {
            map(config.area_bytes, buffer_bytes)?
        };
        Self::around(memory, config, behind, shared)
    }

    /// Maps what `config` asks for, for a side that copies: buffers need not be contiguous in physical memory.
    pub(super) fn for_copies(config: &QueueConfig, buffer_bytes: u64) -> io::Result<Self> {
        let bytes = config.area_bytes.checked_next_multiple_of(buffer_bytes).ok_or_else(too_big)?;
        Self::around(Mapping::new(usize::try_from(bytes).map_err(|_| too_big())?)?, config, 0, false)
    }

    fn around(memory: Mapping, config: &QueueConfig, behind: usize, shared: bool) -> io::Result<Self> {
        // Only the registration reports the size of the ring's header; one page is large enough for any header.
        let entries = config.refill_entries.next_power_of_two() as usize;
        let region_bytes =
            whole_pages(page_bytes() + entries * size_of::<ZcrxRqe>() + behind).ok_or_else(too_big)?;
        let region = if shared { Mapping::shared(region_bytes) } else { Mapping::new(region_bytes) };
        let region = Arc::new(region?);
        let reg = describe(&memory);
        let region_desc = RegionDesc {
            user_addr: region.address(),
            size: region.bytes() as u64,
            flags: IORING_MEM_REGION_TYPE_USER,
            ..RegionDesc::default()
        };
        Ok(Self { memory, region, reg, region_desc })
    }
}

/// Maps memory for an area. Buffers larger than a page must be contiguous in physical memory, which huge pages are.
pub(in crate::receive) fn map(bytes: u64, buffer_bytes: u64) -> io::Result<Mapping> {
    let bytes = usize::try_from(bytes).map_err(|_| too_big())?;
    if buffer_bytes > page_bytes() as u64 { Mapping::huge(bytes) } else { Mapping::new(bytes) }
}

/// Unit to which [`map`] rounds up, bytes.
pub(super) fn granule(buffer_bytes: u64) -> u64 {
    (if buffer_bytes > page_bytes() as u64 { huge_bytes() } else { page_bytes() }) as u64
}

/// An area to register.
pub(super) fn describe(memory: &Mapping) -> ZcrxAreaReg {
    ZcrxAreaReg { addr: memory.address(), len: memory.bytes() as u64, ..ZcrxAreaReg::default() }
}

fn too_big() -> io::Error {
    io::Error::from(io::ErrorKind::OutOfMemory)
}
