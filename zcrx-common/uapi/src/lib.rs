//! The zcrx part of io_uring's user interface that the io-uring crate lacks or knows only in an older shape.
//!
//! Layouts and constants follow `include/uapi/linux/io_uring{.h,/zcrx.h,/query.h}` of Linux 7.3. The size of every
//! structure and the offset of each field are asserted at compile time. A field's comment names the first kernel that reads
//! the field; earlier kernels require zero there. A structure with zeroes in all unneeded fields therefore works on every
//! kernel that supports the needed ones.
//!
//! This crate depends on no other crate of the project.

pub mod errno;
pub mod napi;
pub mod query;
pub mod register;
pub mod registration;
pub mod zcrx;

pub use query::{QueryOpcode, QueryZcrx, QueryZcrxEvent};
pub use registration::Explanation;
pub use zcrx::{
    RegionDesc, ZcrxAreaReg, ZcrxCqe, ZcrxCtrl, ZcrxEventDesc, ZcrxIfqReg, ZcrxOffsets, ZcrxRqe, ZcrxStats,
};

/// Asserts the size of a kernel structure and the offset of each of its fields.
macro_rules! assert_layout {
    ($structure:ty, size $size:literal, $($field:ident @ $offset:literal),+ $(,)?) => {
        const _: () = {
            assert!(size_of::<$structure>() == $size);
            $(assert!(std::mem::offset_of!($structure, $field) == $offset);)+
        };
    };
}
use assert_layout;
