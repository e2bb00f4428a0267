//! What carries data from the network into the area: three ways behind one trait.

mod area;
mod copy;
mod features;
mod growth;
mod posted;
mod select;
mod shared;
mod told;
mod zcrx;

use std::io;
use std::os::fd::RawFd;

use io_uring::{cqueue, squeue};

use super::pool::Pool;
use super::ring::Ring;
use crate::model::{ZcrxCounts, ZcrxSample};

pub(super) use select::{Selected, check_interface, select};
pub(super) use shared::Shared;

/// `user_data` of the completions by which the kernel tells an event. No request has it.
pub(super) const EVENT_USER_DATA: u64 = 0x7a << 32;

/// A registered queue, from the side that fills buffers.
pub(super) trait Backend {
    /// The request that receives from a socket until it says otherwise.
    fn receive(&self, socket: RawFd) -> squeue::Entry;

    /// What a completion of such a request brings. A buffer that it carries is taken from `pool`.
    fn completion(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Completion;

    /// Once per batch, after buffers were published: lets the filling side take them. `waiting` receives ended for
    /// want of a buffer; answers how many of them may try again now.
    fn settle(&mut self, ring: &Ring, pool: &mut Pool, waiting: usize) -> io::Result<usize>;

    /// Whether waiting receives should also try again after a while, unasked: where nobody tells of free buffers.
    fn retries_by_time(&self) -> bool;

    /// Times there was no buffer to give; `None` where the kernel owns the allocator.
    fn starvations(&self) -> Option<u64>;

    /// Times the kernel was told to consume the refill ring; `None` where it cannot be told.
    fn flushes(&self) -> Option<u64>;

    /// Whether a receive waits for a buffer now; says nothing where the kernel owns the allocator.
    fn starving(&self) -> bool;

    /// Of the `received` bytes, those that were copied; `None` where the kernel does not tell.
    fn copied_bytes(&self, received: u64) -> Option<u64>;

    /// The kernel tells an event of the queue, which is not armed any more: counts it and does what it calls for. Says
    /// when to arm it again.
    fn event(&mut self, _ring: &Ring, _pool: &mut Pool, _event: u32) -> io::Result<Arm> {
        Ok(Arm::Later)
    }

    /// Arms an event again.
    fn arm(&mut self, _ring: &Ring, _event: u32) -> io::Result<()> {
        Ok(())
    }

    /// Makes the queue one that rings of other threads can join; says why not, where they cannot.
    fn share(&mut self, _ring: &Ring, _pool: &mut Pool) -> Result<Shared, String> {
        Err("only queues of the kernel's zcrx can have several".to_owned())
    }

    /// What the kernel's zcrx offers to this queue; `None` without it.
    fn zcrx(&self) -> Option<ZcrxSample> {
        None
    }

    /// What is counted of it; `None` without it.
    fn zcrx_counts(&self, _pool: &Pool) -> Option<ZcrxCounts> {
        None
    }
}

/// When to arm an event again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arm {
    /// What it told of was remedied.
    Now,
    /// It may well be told at once again: after a pause.
    Later,
}

/// What one completion of a receive says. Whether the receive goes on, its F_MORE flag says.
#[derive(Debug)]
pub(super) enum Completion {
    /// Data.
    Data(super::pool::Buffer),
    /// End of the stream.
    End,
    /// Nothing happened that matters; a receive that ended so is armed again.
    Nothing,
    /// The completion queue had no room: reap, then arm again.
    QueueFull,
    /// There was no buffer (the positive errno says who found that): wait for one, then arm again.
    NoBuffers(i32),
    /// The connection is of no further use; the positive errno says why.
    Failed(i32),
}
