//! The zcrx part of io_uring's user interface that the io-uring crate lacks or knows only in an older shape.
//!
//! Layouts and constants follow `include/uapi/linux/io_uring{.h,/zcrx.h,/query.h}` of Linux 7.3. Every structure has
//! its size and the offsets of its fields asserted at compile time. A field's comment names the kernel in which it
//! got its meaning; before that version it was reserved and had to be zero, so a structure filled with zeroes but
//! for what one asks for is accepted by every kernel that offers what one asks for.
//!
//! Knows nobody.

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
