//! Features of the kernel's io_uring, read by `IORING_REGISTER_QUERY` (Linux 6.18). Needs no ring.
//!
//! Man pages misdate some features and distributions backport others, so version numbers are no substitute.

use std::io;

use super::{assert_layout, register};

/// `io_uring_register` opcode. Linux 6.18.
pub const IORING_REGISTER_QUERY: u32 = 35;

const IO_URING_QUERY_OPCODES: u32 = 0;
const IO_URING_QUERY_ZCRX: u32 = 1;
const IO_URING_QUERY_ZCRX_EVENT: u32 = 3;

/// `struct io_uring_query_hdr`: one link in a chain of queries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryHdr {
    /// Address of the next header, or 0.
    pub next_entry: u64,
    /// Address of the structure to fill in.
    pub query_data: u64,
    /// `IO_URING_QUERY_*`.
    pub query_op: u32,
    /// Size of that structure in bytes; the kernel writes back the size that it supports.
    pub size: u32,
    /// Written by the kernel: 0 or a negative errno for this query alone.
    pub result: i32,
    #[doc(hidden)]
    pub __resv: [u32; 3],
}
assert_layout!(
    QueryHdr, size 40,
    next_entry @ 0, query_data @ 8, query_op @ 16, size @ 20, result @ 24, __resv @ 28,
);

/// `struct io_uring_query_opcode`. Linux 6.18.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryOpcode {
    /// Number of request opcodes (`IORING_OP_*`).
    pub nr_request_opcodes: u32,
    /// Number of register opcodes (`IORING_REGISTER_*`).
    pub nr_register_opcodes: u32,
    /// `IORING_FEAT_*` bits.
    pub feature_flags: u64,
    /// `IORING_SETUP_*` bits.
    pub ring_setup_flags: u64,
    /// `IORING_ENTER_*` bits.
    pub enter_flags: u64,
    /// `IOSQE_*` bits.
    pub sqe_flags: u64,
    /// Number of query opcodes. Linux 6.19.
    pub nr_query_opcodes: u32,
    #[doc(hidden)]
    pub __pad: u32,
}
assert_layout!(
    QueryOpcode, size 48,
    nr_request_opcodes @ 0, nr_register_opcodes @ 4, feature_flags @ 8, ring_setup_flags @ 16, enter_flags @ 24,
    sqe_flags @ 32, nr_query_opcodes @ 40, __pad @ 44,
);

/// `struct io_uring_query_zcrx`. Linux 6.19.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryZcrx {
    /// `ZCRX_REG_*` bits.
    pub register_flags: u64,
    /// `IORING_ZCRX_AREA_*` bits.
    pub area_flags: u64,
    /// Number of `ZCRX_CTRL_*` operations.
    pub nr_ctrl_opcodes: u32,
    /// `ZCRX_FEATURE_*` bits. Linux 7.0.
    pub features: u32,
    /// Size of the refill ring's header, bytes.
    pub rq_hdr_size: u32,
    /// Alignment of the refill ring's header, bytes.
    pub rq_hdr_alignment: u32,
    #[doc(hidden)]
    pub __resv2: u64,
}
assert_layout!(
    QueryZcrx, size 40,
    register_flags @ 0, area_flags @ 8, nr_ctrl_opcodes @ 16, features @ 20, rq_hdr_size @ 24,
    rq_hdr_alignment @ 28, __resv2 @ 32,
);

/// `struct io_uring_query_zcrx_event`. Linux 7.2.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryZcrxEvent {
    /// One bit for each `ZCRX_EVENT_*`.
    pub event_flags: u32,
    /// Size of `struct zcrx_stats`, bytes.
    pub stats_size: u32,
    /// Alignment that `stats_offset` must have, bytes.
    pub stats_off_alignment: u32,
    #[doc(hidden)]
    pub __resv1: u32,
    #[doc(hidden)]
    pub __resv2: [u64; 4],
}
assert_layout!(
    QueryZcrxEvent, size 48,
    event_flags @ 0, stats_size @ 4, stats_off_alignment @ 8, __resv1 @ 12, __resv2 @ 16,
);

/// Opcodes, features and flags that io_uring offers. EINVAL before Linux 6.18.
pub fn opcodes() -> io::Result<QueryOpcode> {
    query(IO_URING_QUERY_OPCODES)
}

/// Returns the features of zcrx.
///
/// ```
/// match zcrx_uapi::query::zcrx() {
///     Ok(offered) => println!("{} control operations", offered.nr_ctrl_opcodes),
///     Err(error) => println!("this kernel has no zcrx query: {error}"),
/// }
/// ```
///
/// EINVAL before 6.18, EOPNOTSUPP before Linux 6.19 or where it is not built in.
pub fn zcrx() -> io::Result<QueryZcrx> {
    query(IO_URING_QUERY_ZCRX)
}

/// Returns the features of zcrx events. EINVAL before 6.18, EOPNOTSUPP before Linux 7.2 or where zcrx is not built in.
pub fn zcrx_event() -> io::Result<QueryZcrxEvent> {
    query(IO_URING_QUERY_ZCRX_EVENT)
}

/// `T` must be the structure of `query_op`; a kernel that knows a shorter one leaves the rest zero.
fn query<T: Default>(query_op: u32) -> io::Result<T> {
    let mut data = T::default();
    let mut hdr = QueryHdr {
        query_data: (&raw mut data).expose_provenance() as u64,
        query_op,
        size: size_of::<T>() as u32,
        ..QueryHdr::default()
    };
    // SAFETY: the header and the data it points to live to the end of the call, and the kernel writes at most `size`
    // bytes of the data; every `T` this module passes is a structure of integers.
    unsafe { register::register(None, IORING_REGISTER_QUERY, (&raw mut hdr).cast(), 0) }?;
    if hdr.result < 0 { Err(io::Error::from_raw_os_error(-hdr.result)) } else { Ok(data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a kernel with the query, the answer must at least contain the opcode of the query.
    #[test]
    fn the_opcode_query_answers_or_is_unknown() {
        match opcodes() {
            Ok(answer) => {
                assert!(answer.nr_register_opcodes > IORING_REGISTER_QUERY, "{answer:?}");
                assert!(answer.nr_request_opcodes > 0 && answer.feature_flags != 0, "{answer:?}");
            }
            Err(error) => assert!(
                matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)),
                "{error}"
            ),
        }
    }

    #[test]
    fn the_zcrx_query_answers_or_is_unknown() {
        match zcrx() {
            Ok(answer) => assert!(answer.nr_ctrl_opcodes > 0 && answer.rq_hdr_size > 0, "{answer:?}"),
            Err(error) => assert!(
                matches!(
                    error.raw_os_error(),
                    Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM)
                ),
                "{error}"
            ),
        }
    }
}
