//! The refill ring: shared memory through which user space returns buffers.
//!
//! One producer (user space) writes entries and moves the tail; one consumer (the kernel, or the software interface
//! queue) reads entries and moves the head. Both count modulo 2^32 and never stop at the end of the ring. Both sides
//! use [`RingMemory`], so that the same code runs on memory shared with the kernel and under
//! loom, which tries the orders in which two processors may see each other's writes.

mod consumer;
mod mapped;
mod producer;

pub use consumer::Consumer;
pub use mapped::{GeometryError, MappedRing};
pub use producer::Producer;

use std::sync::atomic::Ordering;

use zcrx_uapi::ZcrxRqe;

/// The memory of a refill ring. Its methods choose the memory orderings, so that loom checks the orderings in use.
pub trait RingMemory {
    /// Number of entries, a power of two.
    fn entries(&self) -> u32;
    /// Reads the head.
    fn load_head(&self, order: Ordering) -> u32;
    /// Writes the head.
    fn store_head(&self, head: u32, order: Ordering);
    /// Reads the tail.
    fn load_tail(&self, order: Ordering) -> u32;
    /// Writes the tail.
    fn store_tail(&self, tail: u32, order: Ordering);
    /// Reads the entry at position `at`, modulo the ring's size.
    fn read(&self, at: u32) -> ZcrxRqe;
    /// Writes the entry at position `at`, modulo the ring's size.
    fn write(&self, at: u32, rqe: ZcrxRqe);

    /// Head, with acquire ordering: the consumer no longer needs the entries before it.
    fn head_acquire(&self) -> u32 {
        self.load_head(Ordering::Acquire)
    }

    /// Releases the entries before `head` to the producer.
    fn head_release(&self, head: u32) {
        self.store_head(head, Ordering::Release);
    }

    /// Tail, with acquire ordering: the entries that the producer wrote before it are visible.
    fn tail_acquire(&self) -> u32 {
        self.load_tail(Ordering::Acquire)
    }

    /// Releases the entries before `tail` to the consumer.
    fn tail_release(&self, tail: u32) {
        self.store_tail(tail, Ordering::Release);
    }
}

#[cfg(test)]
mod loom_tests;
#[cfg(test)]
mod model_tests;
