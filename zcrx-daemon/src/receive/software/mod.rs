//! The software interface queue: the kernel's object, in user space.
//!
//! It registers as the first version of the kernel's interface queue did ("io_uring/zcrx: add interface queue and
//! refill queue"), with the same checks in the same order and the same errnos, and it hands out buffers as the
//! kernel does: from a cache of 64, filled from the refill ring, then from the freelist, else not at all. What it
//! lacks is a NIC: the `copy` backend brings data in by ordinary receives. The rest of the receive path cannot tell
//! the difference, and that is its worth: on any machine one can watch a queue starve and recover.

mod allocator;
mod region;
mod registration;

pub use allocator::{ALLOC_CACHE_REFILL, Allocator, Niov, Rejected};
pub use registration::{Allocation, RingContext, SoftwareIfq, UserPointer};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod registration_tests;
