//! Every single mistake (and every harmless peculiarity) a registration can have.

use std::fmt;

use zcrx_uapi::zcrx::{
    IO_RQ_MAX_ENTRIES, IORING_SETUP_CLAMP, IORING_SETUP_CQE32, IORING_SETUP_DEFER_TASKRUN,
};

use crate::request::{Pointer, Request};

/// `IORING_SETUP_CQE_MIXED`: completions of both sizes in one ring. Linux 6.18.
pub(crate) const IORING_SETUP_CQE_MIXED: u32 = 1 << 18;

/// One peculiarity of a request.
#[derive(Clone, Copy)]
pub(crate) struct Spoil {
    /// Its description, which identifies it.
    pub(crate) name: &'static str,
    /// Whether only a registration that reached the check of the area shows it.
    pub(crate) of_area: bool,
    pub(crate) apply: fn(&mut Request),
}

impl fmt::Debug for Spoil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn spoil(name: &'static str, apply: fn(&mut Request)) -> Spoil {
    Spoil { name, of_area: false, apply }
}

const fn of_area(name: &'static str, apply: fn(&mut Request)) -> Spoil {
    Spoil { name, of_area: true, apply }
}

/// All of them.
pub(crate) const ALL: &[Spoil] = &[
    spoil("no CAP_NET_ADMIN", |r| r.privileged = false),
    spoil("no DEFER_TASKRUN", |r| r.setup_flags &= !IORING_SETUP_DEFER_TASKRUN),
    spoil("no CQE32", |r| r.setup_flags &= !IORING_SETUP_CQE32),
    spoil("CQE_MIXED instead of CQE32", |r| {
        r.setup_flags = r.setup_flags & !IORING_SETUP_CQE32 | IORING_SETUP_CQE_MIXED;
    }),
    spoil("CLAMP", |r| r.setup_flags |= IORING_SETUP_CLAMP),
    spoil("a second queue on the ring", |r| r.second = true),
    spoil("registration not readable", |r| r.reg_pointer = Pointer::Unmapped),
    spoil("region pointer null", |r| r.region_pointer = Pointer::Null),
    spoil("region not readable", |r| r.region_pointer = Pointer::Unmapped),
    spoil("zcrx_id set", |r| r.reg.zcrx_id = 1),
    spoil("rx_buf_len of a page", |r| r.reg.rx_buf_len = rustix::param::page_size() as u32),
    spoil("rx_buf_len no power of two", |r| r.reg.rx_buf_len = 1000),
    spoil("event_desc not readable", |r| r.reg.event_desc = rustix::param::page_size() as u64),
    spoil("first reserved word set", |r| r.reg.__resv[0] = 1),
    spoil("last reserved word set", |r| r.reg.__resv[1] = 1),
    spoil("queue index -1", |r| r.reg.if_rxq = u32::MAX),
    spoil("no entries", |r| r.reg.rq_entries = 0),
    spoil("one entry", |r| r.reg.rq_entries = 1),
    spoil("100 entries", |r| r.reg.rq_entries = 100),
    spoil("most entries", |r| r.reg.rq_entries = IO_RQ_MAX_ENTRIES),
    spoil("one entry too many", |r| r.reg.rq_entries = IO_RQ_MAX_ENTRIES + 1),
    spoil("2^32 - 1 entries", |r| r.reg.rq_entries = u32::MAX),
    spoil("flag IMPORT", |r| r.reg.flags |= 1),
    spoil("unknown flag", |r| r.reg.flags |= 1 << 31),
    spoil("area pointer null", |r| r.area_pointer = Pointer::Null),
    of_area("area not readable", |r| r.area_pointer = Pointer::Unmapped),
    spoil("region of one page, entries for more", |r| {
        r.region.size = rustix::param::page_size() as u64;
        r.reg.rq_entries = 4096;
    }),
    spoil("region exactly as big as the entries", |r| {
        r.region.size = rustix::param::page_size() as u64;
        r.reg.rq_entries = 256;
    }),
    spoil("region empty", |r| r.region.size = 0),
    spoil("region of 2^62 bytes", |r| r.region.size = 1 << 62),
    spoil("region not in whole pages", |r| r.region.size = r.region.size.wrapping_sub(8)),
    spoil("region does not begin on a page", |r| r.region.user_addr = r.region.user_addr.wrapping_add(8)),
    spoil("region flag unknown", |r| r.region.flags |= 2),
    spoil("region the kernel's", |r| {
        r.region.flags = 0;
        r.region.user_addr = 0;
    }),
    spoil("region the kernel's, with an address", |r| r.region.flags = 0),
    spoil("region the user's, without an address", |r| r.region.user_addr = 0),
    spoil("region with an offset", |r| r.region.mmap_offset = 4096),
    spoil("region with an id", |r| r.region.id = 1),
    spoil("region reserved word set", |r| r.region.__resv[3] = 1),
    spoil("region beyond the address space", |r| {
        r.region.user_addr = 0_u64.wrapping_sub(rustix::param::page_size() as u64);
    }),
    of_area("area flag unknown", |r| r.area.flags = 2),
    of_area("area with a token", |r| r.area.rq_area_token = 1),
    of_area("area with a dmabuf, but no flag", |r| r.area.dmabuf_fd = 1),
    of_area("area reserved word set", |r| r.area.__resv2[1] = 1),
    of_area("area without an address", |r| r.area.addr = 0),
    of_area("area empty", |r| r.area.len = 0),
    of_area("area does not begin on a page", |r| r.area.addr = r.area.addr.wrapping_add(1)),
    of_area("area not in whole pages", |r| r.area.len = r.area.len.wrapping_sub(1)),
    of_area("area beyond the address space", |r| {
        r.area.addr = 0_u64.wrapping_sub(rustix::param::page_size() as u64);
    }),
    of_area("area not mapped", |r| r.area.addr = rustix::param::page_size() as u64),
];
