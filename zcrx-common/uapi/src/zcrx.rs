//! Structures and constants of zero-copy receive.

use super::assert_layout;

/// `io_uring_register` opcode: register an interface queue. Linux 6.15.
pub const IORING_REGISTER_ZCRX_IFQ: u32 = 32;
/// `io_uring_register` opcode: control a registered interface queue. Linux 6.19.
pub const IORING_REGISTER_ZCRX_CTRL: u32 = 36;

/// Most refill ring entries the kernel accepts; more is EINVAL, or cut to this with `IORING_SETUP_CLAMP`.
///
/// Not in the uapi headers: `IO_RQ_MAX_ENTRIES` of io_uring/zcrx.c, the same since the first version.
pub const IO_RQ_MAX_ENTRIES: u32 = 32768;

/// Ring setup flag: the kernel clamps sizes that are too large instead of refusing them. Linux 5.6.
pub const IORING_SETUP_CLAMP: u32 = 1 << 4;
/// Ring setup flag: 32-byte completions, whose upper half carries a [`ZcrxCqe`]. Linux 5.19.
pub const IORING_SETUP_CQE32: u32 = 1 << 11;
/// Ring setup flag: only one thread submits. Linux 6.0.
pub const IORING_SETUP_SINGLE_ISSUER: u32 = 1 << 12;
/// Ring setup flag: the kernel posts completions when the owner waits for them. Linux 6.1.
pub const IORING_SETUP_DEFER_TASKRUN: u32 = 1 << 13;

/// Ring setup flag: completions of 16 and of 32 bytes in one queue. Linux 6.18.
pub const IORING_SETUP_CQE_MIXED: u32 = 1 << 18;

/// The bit from which the area id is encoded into offsets.
pub const IORING_ZCRX_AREA_SHIFT: u32 = 48;
/// The area id's bits in an offset.
pub const IORING_ZCRX_AREA_MASK: u64 = !((1 << IORING_ZCRX_AREA_SHIFT) - 1);

/// Registration flag: take over a queue exported by another ring. Linux 6.19.
pub const ZCRX_REG_IMPORT: u32 = 1;
/// Registration flag: no network device; all data is copied, the refill ring is consumed on
/// [`ZCRX_CTRL_FLUSH_RQ`]. Linux 7.1.
pub const ZCRX_REG_NODEV: u32 = 2;

/// Area flag: the area is a dmabuf, not user memory. Linux 6.16.
pub const IORING_ZCRX_AREA_DMABUF: u32 = 1;

/// Region flag: user space brings the memory. Linux 6.13.
pub const IORING_MEM_REGION_TYPE_USER: u32 = 1;

/// Feature bit: the kernel reads [`ZcrxIfqReg::rx_buf_len`]. Linux 7.0.
pub const ZCRX_FEATURE_RX_PAGE_SIZE: u32 = 1 << 0;
/// Feature bit: the kernel reads [`ZcrxIfqReg::event_desc`]. Linux 7.2.
pub const ZCRX_FEATURE_EVENT: u32 = 1 << 1;

/// Event: an allocation for the NIC found no buffer. One-shot until armed again. Linux 7.2.
pub const ZCRX_EVENT_ALLOC_FAIL: u32 = 0;
/// Event: payload was copied. One-shot until armed again. Linux 7.2.
pub const ZCRX_EVENT_COPY: u32 = 1;

/// Event descriptor flag: [`ZcrxEventDesc::stats_offset`] is valid. Linux 7.2.
pub const ZCRX_EVENT_DESC_FLAG_STATS: u32 = 1 << 0;

/// Control: consume the refill ring now. Linux 6.19.
///
/// Always returns 0 and stops silently at the first malformed entry.
pub const ZCRX_CTRL_FLUSH_RQ: u32 = 0;
/// Control: return a file descriptor that another ring can import. Linux 6.19.
pub const ZCRX_CTRL_EXPORT: u32 = 1;
/// Control: arm an event that has fired. Linux 7.2.
pub const ZCRX_CTRL_ARM_EVENT: u32 = 2;
/// Control: add an area to the queue. Linux 7.3.
pub const ZCRX_CTRL_ADD_AREA: u32 = 3;

/// `struct io_uring_zcrx_rqe`: one buffer returned through the refill ring. Linux 6.15.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxRqe {
    /// Area token in the bits of [`IORING_ZCRX_AREA_MASK`], below them the byte offset of (any part of) the buffer.
    pub off: u64,
    /// Length of the returned part in bytes. No kernel up to 7.3 reads it.
    pub len: u32,
    #[doc(hidden)]
    pub __pad: u32,
}
assert_layout!(ZcrxRqe, size 16, off @ 0, len @ 8, __pad @ 12);

/// `struct io_uring_zcrx_cqe`: the upper half of the 32-byte completion of a RECV_ZC. Linux 6.15.
///
/// The length of the data is the completion's result.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxCqe {
    /// Area id in the bits of [`IORING_ZCRX_AREA_MASK`], below them the byte offset of the data in the area.
    pub off: u64,
    #[doc(hidden)]
    pub __pad: u64,
}
assert_layout!(ZcrxCqe, size 16, off @ 0, __pad @ 8);

/// `struct io_uring_zcrx_offsets`: where in the region the refill ring's parts are. Written by the kernel. Linux 6.15.
///
/// The only geometry to use: head and tail are 4 bytes apart up to 7.2 and on separate cache lines from 7.3.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxOffsets {
    /// Byte offset of the u32 head, written by the consumer.
    pub head: u32,
    /// Byte offset of the u32 tail, written by the producer.
    pub tail: u32,
    /// Byte offset of the first entry.
    pub rqes: u32,
    #[doc(hidden)]
    pub __resv2: u32,
    #[doc(hidden)]
    pub __resv: [u64; 2],
}
assert_layout!(ZcrxOffsets, size 32, head @ 0, tail @ 4, rqes @ 8, __resv2 @ 12, __resv @ 16);

/// `struct io_uring_zcrx_area_reg`: the memory that payload lands in. Linux 6.15.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxAreaReg {
    /// Start address, page-aligned; with [`IORING_ZCRX_AREA_DMABUF`] an offset into the dmabuf.
    pub addr: u64,
    /// Length in bytes, a multiple of the page size.
    pub len: u64,
    /// Written by the kernel: goes into the upper bits of [`ZcrxRqe::off`].
    pub rq_area_token: u64,
    /// `IORING_ZCRX_AREA_*`. Any flag: Linux 6.16.
    pub flags: u32,
    /// The dmabuf's file descriptor. Linux 6.16.
    pub dmabuf_fd: u32,
    #[doc(hidden)]
    pub __resv2: [u64; 2],
}
assert_layout!(
    ZcrxAreaReg, size 48,
    addr @ 0, len @ 8, rq_area_token @ 16, flags @ 24, dmabuf_fd @ 28, __resv2 @ 32,
);

/// `struct io_uring_region_desc`: memory shared with the kernel, here the refill ring. Linux 6.13.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionDesc {
    /// Start address of the memory with [`IORING_MEM_REGION_TYPE_USER`], else zero.
    pub user_addr: u64,
    /// Size in bytes, a multiple of the page size.
    pub size: u64,
    /// `IORING_MEM_REGION_TYPE_*`.
    pub flags: u32,
    /// Written by the kernel.
    pub id: u32,
    /// Written by the kernel: the offset to map the ring's fd at, when user space did not bring the memory.
    pub mmap_offset: u64,
    #[doc(hidden)]
    pub __resv: [u64; 4],
}
assert_layout!(
    RegionDesc, size 64,
    user_addr @ 0, size @ 8, flags @ 16, id @ 20, mmap_offset @ 24, __resv @ 32,
);

/// `struct zcrx_stats`: counters the kernel keeps in the refill region. Linux 7.2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxStats {
    /// Fragments copied so far. Leaves out payload in an skb's linear part.
    pub copy_count: u64,
    /// Bytes in copied fragments.
    pub copy_bytes: u64,
}
assert_layout!(ZcrxStats, size 16, copy_count @ 0, copy_bytes @ 8);

/// `struct zcrx_event_desc`: which events to post, and where to keep the statistics. Linux 7.2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxEventDesc {
    /// `user_data` of the event completions.
    pub user_data: u64,
    /// One bit for each `ZCRX_EVENT_*` wanted.
    pub type_mask: u32,
    /// `ZCRX_EVENT_DESC_FLAG_*`.
    pub flags: u32,
    /// Byte offset of a [`ZcrxStats`] in the refill region.
    pub stats_offset: u64,
    #[doc(hidden)]
    pub __resv2: [u64; 9],
}
assert_layout!(
    ZcrxEventDesc, size 96,
    user_data @ 0, type_mask @ 8, flags @ 12, stats_offset @ 16, __resv2 @ 24,
);

/// `struct io_uring_zcrx_ifq_reg`: argument of [`IORING_REGISTER_ZCRX_IFQ`]. Linux 6.15.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxIfqReg {
    /// Interface index; with [`ZCRX_REG_IMPORT`] the exported file descriptor.
    pub if_idx: u32,
    /// Hardware receive queue index.
    pub if_rxq: u32,
    /// Requested refill ring entries; the kernel writes back the actual number, a power of two.
    pub rq_entries: u32,
    /// `ZCRX_REG_*`. Any flag: Linux 6.19.
    pub flags: u32,
    /// Address of a [`ZcrxAreaReg`].
    pub area_ptr: u64,
    /// Address of a [`RegionDesc`].
    pub region_ptr: u64,
    /// Written by the kernel.
    pub offsets: ZcrxOffsets,
    /// Written by the kernel: which of the ring's queues this is, to be passed in `sqe->zcrx_ifq_idx`. Linux 6.16.
    pub zcrx_id: u32,
    /// Wanted size of one buffer in bytes, a power of two; 0 for the page size. Linux 7.0.
    pub rx_buf_len: u32,
    /// Address of a [`ZcrxEventDesc`], or 0. Linux 7.2.
    pub event_desc: u64,
    #[doc(hidden)]
    pub __resv: [u64; 2],
}
assert_layout!(
    ZcrxIfqReg, size 96,
    if_idx @ 0, if_rxq @ 4, rq_entries @ 8, flags @ 12, area_ptr @ 16, region_ptr @ 24, offsets @ 32,
    zcrx_id @ 64, rx_buf_len @ 68, event_desc @ 72, __resv @ 80,
);

/// `struct zcrx_ctrl`: argument of [`IORING_REGISTER_ZCRX_CTRL`]. Linux 6.19.
///
/// The kernel's union of 48 bytes is kept as plain words; the constructors know which word is what.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZcrxCtrl {
    /// Which queue of the ring: [`ZcrxIfqReg::zcrx_id`].
    pub zcrx_id: u32,
    /// `ZCRX_CTRL_*`.
    pub op: u32,
    #[doc(hidden)]
    pub __resv: [u64; 2],
    #[doc(hidden)]
    pub __union: [u64; 6],
}
assert_layout!(ZcrxCtrl, size 72, zcrx_id @ 0, op @ 4, __resv @ 8, __union @ 24);

impl ZcrxCtrl {
    /// Consume the refill ring now. Linux 6.19.
    pub fn flush_rq(zcrx_id: u32) -> Self {
        Self { zcrx_id, op: ZCRX_CTRL_FLUSH_RQ, ..Self::default() }
    }

    /// Make a file descriptor of the queue; read it with [`Self::exported_fd`] after the call. Linux 6.19.
    pub fn export(zcrx_id: u32) -> Self {
        Self { zcrx_id, op: ZCRX_CTRL_EXPORT, ..Self::default() }
    }

    /// Arm a `ZCRX_EVENT_*` that has fired; EINVAL if it has not. Linux 7.2.
    pub fn arm_event(zcrx_id: u32, event: u32) -> Self {
        Self { zcrx_id, op: ZCRX_CTRL_ARM_EVENT, __union: words_of([event, 0]), ..Self::default() }
    }

    /// Add the area that the [`ZcrxAreaReg`] at `area_ptr` describes. Linux 7.3.
    pub fn add_area(zcrx_id: u32, area_ptr: u64) -> Self {
        Self { zcrx_id, op: ZCRX_CTRL_ADD_AREA, __union: [area_ptr, 0, 0, 0, 0, 0], ..Self::default() }
    }

    /// The file descriptor that [`Self::export`] made: the union's first 32-bit word.
    pub fn exported_fd(&self) -> i32 {
        let bytes = self.__union[0].to_ne_bytes();
        i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

/// The union's six words, of which only the first two 32-bit halves are not zero.
fn words_of(halves: [u32; 2]) -> [u64; 6] {
    let [a, b] = halves.map(u32::to_ne_bytes);
    let first = u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]);
    [first, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_type_is_the_first_half_word_of_the_union() {
        let ctrl = ZcrxCtrl::arm_event(3, ZCRX_EVENT_COPY);
        assert_eq!(ctrl.__union[0].to_ne_bytes()[..4], ZCRX_EVENT_COPY.to_ne_bytes());
        assert_eq!(ctrl.__union[0].to_ne_bytes()[4..], [0; 4]);
    }

    #[test]
    fn the_exported_fd_is_the_first_half_word_of_the_union() {
        let mut ctrl = ZcrxCtrl::export(0);
        ctrl.__union = words_of([17, 0]);
        assert_eq!(ctrl.exported_fd(), 17);
    }

    #[test]
    fn an_area_id_and_an_offset_do_not_overlap() {
        assert_eq!(IORING_ZCRX_AREA_MASK, 0xffff_0000_0000_0000);
    }
}
