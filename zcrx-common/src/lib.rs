//! Types that zcrxd's eBPF programs and its user space share.
//!
//! Everything here is `repr(C)`, has no padding that is not named, and asserts its size: a map value or a
//! ring buffer record is read on the other side of the kernel boundary by a program built for another target.
#![no_std]

pub mod allocation;
pub mod event;
pub mod layout;
pub mod loss;
pub mod offsets;
pub mod page_pool;
#[cfg(feature = "user")]
mod pod;
pub mod registration;
pub mod residence;
pub mod snapshot;
