//! One registration, as either side is to see it.

use zcrx_uapi::zcrx::{
    IORING_MEM_REGION_TYPE_USER, IORING_SETUP_CQE32, IORING_SETUP_DEFER_TASKRUN, IORING_SETUP_SINGLE_ISSUER,
};
use zcrx_uapi::{RegionDesc, ZcrxAreaReg, ZcrxIfqReg};

use crate::memory::{Memory, area_bytes};

/// A pointer argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// To what it should point to.
    Good,
    /// To a page that is not mapped.
    Unmapped,
    /// To nothing.
    Null,
}

/// A registration that succeeds until something spoils it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Whether the caller has CAP_NET_ADMIN.
    pub(crate) privileged: bool,
    /// Whether the ring has a queue already.
    pub(crate) second: bool,
    /// `IORING_SETUP_*`.
    pub(crate) setup_flags: u32,
    pub(crate) reg_pointer: Pointer,
    pub(crate) region_pointer: Pointer,
    pub(crate) area_pointer: Pointer,
    /// The interface is the target's to choose; `flags` are added to those that it needs.
    pub(crate) reg: ZcrxIfqReg,
    pub(crate) region: RegionDesc,
    pub(crate) area: ZcrxAreaReg,
}

impl Request {
    /// One that succeeds.
    pub(crate) fn good(memory: Memory) -> Self {
        Self {
            privileged: true,
            second: false,
            setup_flags: IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQE32,
            reg_pointer: Pointer::Good,
            region_pointer: Pointer::Good,
            area_pointer: Pointer::Good,
            reg: ZcrxIfqReg { rq_entries: 64, ..ZcrxIfqReg::default() },
            region: RegionDesc {
                user_addr: memory.region_address(),
                size: memory.region_bytes(),
                flags: IORING_MEM_REGION_TYPE_USER,
                ..RegionDesc::default()
            },
            area: ZcrxAreaReg { addr: memory.area_address(), len: area_bytes(), ..ZcrxAreaReg::default() },
        }
    }

    /// A good one for the same ring, to be made before this one.
    pub(crate) fn first(second: &Self, memory: Memory) -> Self {
        Self { setup_flags: second.setup_flags, ..Self::good(memory) }
    }
}
