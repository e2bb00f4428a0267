//! The software interface queue: the kernel's interface queue, implemented in user space.
//!
//! Its registration follows the first version of the kernel's interface queue ("io_uring/zcrx: add interface queue and
//! refill queue"): the same checks in the same order, with the same errnos. It allocates buffers as the kernel does: from
//! a cache of 64, filled from the refill ring, then from the freelist; otherwise the allocation fails. It has no NIC: the
//! `copy` backend fills the buffers by ordinary receives. The rest of the receive path is the same, so a queue can starve and
//! recover on any machine.

mod allocator;
mod region;
mod registration;

pub use allocator::{ALLOC_CACHE_REFILL, Allocator, Niov, Rejected};
pub use registration::{Allocation, RingContext, SoftwareIfq, UserPointer};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod registration_tests;
