//! Interface of all backends.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::{cqueue, squeue};

use super::shared::Shared;
use crate::model::{ZcrxCounts, ZcrxSample};
use crate::receive::mapping::Mapping;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::ring::Ring;

/// `user_data` of the completions by which the kernel reports an event. No request has it.
pub(in crate::receive) const EVENT_USER_DATA: u64 = 0x7a << 32;

/// Waits before a busy queue is tried again; returns whether to go on at all.
pub(in crate::receive) type Pause<'a> = &'a dyn Fn(Duration) -> bool;

/// A registered queue: the side that fills buffers.
pub(in crate::receive) trait Backend {
    /// The multishot request that receives from a socket.
    fn receive(&self, socket: RawFd) -> squeue::Entry;

    /// Takes the first buffer of a completion with payload, and mostly the only one. `None` for a completion that names no buffer
    /// of the area: the kernel is faulty.
    fn payload(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Option<Buffer>;

    /// Takes the next buffer of that completion, which has `left` more bytes. `None` as above.
    fn more_payload(&mut self, _left: u32, _pool: &mut Pool) -> Option<Buffer> {
        None
    }

    /// Meaning of a completion without payload.
    fn completion(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Completion;

    /// Called once per batch after the publication of buffers: lets the kernel or the software queue consume the entries.
    /// `waiting` receives found no buffer; returns how many of them the loop may arm again.
    fn settle(&mut self, ring: &Ring, pool: &mut Pool, waiting: usize) -> io::Result<usize>;

    /// Whether waiting receives are armed again after a pause, because no event reports a free buffer.
    fn retries_by_time(&self) -> bool;

    /// Failed allocations; `None` where the kernel owns the allocator.
    fn starvations(&self) -> Option<u64>;

    /// Times that zcrxd made the kernel consume the refill ring; `None` where the kernel does not support it.
    fn flushes(&self) -> Option<u64>;

    /// Whether a receive waits for a buffer now. False where the kernel owns the allocator.
    fn starving(&self) -> bool;

    /// Number of copied bytes among `received`; `None` where the kernel does not report it.
    fn copied_bytes(&self, received: u64) -> Option<u64>;

    /// Handles an event of the queue, which the kernel has disarmed: counts it and reacts to it.
    fn event(&mut self, _ring: &Ring, _pool: &mut Pool, _event: u32) -> io::Result<()> {
        Ok(())
    }

    /// Arms an event again.
    fn arm(&mut self, _ring: &Ring, _event: u32) -> io::Result<()> {
        Ok(())
    }

    /// Memory that the queue needs now, as (bytes, bytes of a buffer). Once until [`Self::grow`] or [`Self::no_area`].
    fn wanted_area(&mut self) -> Option<(u64, u64)> {
        None
    }

    /// Adds memory to the queue. Returns whether the queue has grown.
    fn grow(&mut self, _ring: &Ring, _memory: io::Result<Mapping>, _pool: &mut Pool) -> io::Result<bool> {
        Ok(false)
    }

    /// Records that no helper can map the requested memory.
    fn no_area(&mut self) {}

    /// Lets rings of other threads join the queue. Returns the reason where they cannot.
    fn share(&mut self, _ring: &Ring, _pool: &mut Pool) -> Result<Shared, String> {
        Err("only queues of the kernel's zcrx can have several".to_owned())
    }

    /// Features of the kernel's zcrx for this queue; `None` without zcrx.
    fn zcrx(&self) -> Option<ZcrxSample> {
        None
    }

    /// Counters of the kernel's zcrx; `None` without zcrx.
    fn zcrx_counts(&self, _pool: &Pool) -> Option<ZcrxCounts> {
        None
    }
}

/// Meaning of a completion without payload. Its F_MORE flag says whether the receive continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::receive) enum Completion {
    /// End of the stream.
    End,
    /// Nothing to handle; a receive that ended this way is armed again.
    Nothing,
    /// The completion queue was full: reap, then arm the receive again.
    QueueFull,
    /// No buffer was free: wait for one, then arm the receive again. The positive errno.
    NoBuffers(i32),
    /// The connection cannot continue; the positive errno is the reason.
    Failed(i32),
}
