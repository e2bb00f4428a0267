//! The memory that is registered with a queue.

use std::io;
use std::sync::Arc;

use crate::receive::config::QueueConfig;
use crate::receive::mapping::{Mapping, page_bytes, whole_pages};
use crate::uapi::zcrx::IORING_MEM_REGION_TYPE_USER;
use crate::uapi::{RegionDesc, ZcrxAreaReg, ZcrxRqe};

/// Memory to register: the area, and a region for the refill ring with room for statistics behind it.
pub(super) struct Area {
    pub(super) memory: Mapping,
    pub(super) region: Arc<Mapping>,
    pub(super) reg: ZcrxAreaReg,
    pub(super) region_desc: RegionDesc,
}

impl Area {
    /// Maps what `config` asks for. `behind` bytes are added behind the refill ring's entries.
    pub(super) fn new(config: &QueueConfig, behind: usize) -> io::Result<Self> {
        let too_big = || io::Error::from(io::ErrorKind::OutOfMemory);
        let area_bytes = usize::try_from(config.area_bytes).map_err(|_| too_big())?;
        let memory = Mapping::new(area_bytes)?;
        // How big the ring's header is only the registration tells: a page is room enough for any.
        let entries = config.refill_entries.next_power_of_two() as usize;
        let region_bytes =
            whole_pages(page_bytes() + entries * size_of::<ZcrxRqe>() + behind).ok_or_else(too_big)?;
        let region = Arc::new(Mapping::new(region_bytes)?);
        let reg =
            ZcrxAreaReg { addr: memory.address(), len: memory.bytes() as u64, ..ZcrxAreaReg::default() };
        let region_desc = RegionDesc {
            user_addr: region.address(),
            size: region.bytes() as u64,
            flags: IORING_MEM_REGION_TYPE_USER,
            ..RegionDesc::default()
        };
        Ok(Self { memory, region, reg, region_desc })
    }
}
