//! What carries payload from the network into the area: three ways behind one trait.

mod area;
mod copy;
mod features;
mod growth;
mod notifications;
mod posted;
mod select;
mod shared;
mod zcrx;

use std::io;
use std::os::fd::RawFd;

use io_uring::{cqueue, squeue};

use self::copy::CopyBackend;
use self::zcrx::ZcrxBackend;
use super::mapping::Mapping;
use super::pool::{Buffer, Pool};
use super::ring::Ring;
use crate::model::{ZcrxCounts, ZcrxSample};

pub(super) use area::map;
pub(super) use select::{Selected, check_interface, select, select_better};
pub(super) use shared::Shared;

/// `user_data` of the completions by which the kernel reports an event. No request has it.
pub(super) const EVENT_USER_DATA: u64 = 0x7a << 32;

/// A registered queue, from the side that fills buffers.
pub(super) trait Backend {
    /// The request that receives from a socket until it says otherwise.
    fn receive(&self, socket: RawFd) -> squeue::Entry;

    /// Hands the buffers of a completion with payload to `take`. Returns false for a completion that names no buffer of the
    /// area: the other side is broken.
    fn payload(
        &mut self,
        cqe: &cqueue::Entry32,
        pool: &mut Pool,
        take: impl FnMut(Buffer, &mut Pool),
    ) -> bool;

    /// What a completion without payload says.
    fn completion(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Completion;

    /// Once per batch, after buffers were published: lets the filling side take them. `waiting` receives found no buffer and
    /// would try again now; returns how many of them may.
    fn settle(&mut self, ring: &Ring, pool: &mut Pool, waiting: usize) -> io::Result<usize>;

    /// Whether waiting receives try again after a pause, because no one says when a buffer is free.
    fn retries_by_time(&self) -> bool;

    /// Times there was no buffer to give; `None` where the kernel owns the allocator.
    fn starvations(&self) -> Option<u64>;

    /// Times the kernel was asked to consume the refill ring; `None` where it cannot be asked.
    fn flushes(&self) -> Option<u64>;

    /// Whether a receive waits for a buffer now. False where the kernel owns the allocator.
    fn starving(&self) -> bool;

    /// How many of the `received` bytes were copied; `None` where the kernel does not say.
    fn copied_bytes(&self, received: u64) -> Option<u64>;

    /// The kernel reports an event of the queue, which is not armed any more: counts it and does what it calls for.
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

    /// Adds memory to the queue. Returns whether it has more now.
    fn grow(&mut self, _ring: &Ring, _memory: io::Result<Mapping>, _pool: &mut Pool) -> io::Result<bool> {
        Ok(false)
    }

    /// The memory that was wanted does not come.
    fn no_area(&mut self) {}

    /// Makes the queue one that rings of other threads can join; returns why not, where they cannot.
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

/// What a completion without payload says. Whether the receive goes on, its F_MORE flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// End of the stream.
    End,
    /// Nothing that matters; a receive that ended so is armed again.
    Nothing,
    /// The completion queue had no room: reap, then arm again.
    QueueFull,
    /// There was no buffer (the positive errno says who found that): wait for one, then arm again.
    NoBuffers(i32),
    /// The connection is of no further use; the positive errno says why.
    Failed(i32),
}

/// The backends there are: a choice, not a trait object, so that the path of each completion is known when zcrxd is
/// compiled.
pub(super) enum AnyBackend {
    Zcrx(ZcrxBackend),
    Copy(CopyBackend),
}

/// Calls a method of whichever backend it is.
macro_rules! each {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            AnyBackend::Zcrx($backend) => $call,
            AnyBackend::Copy($backend) => $call,
        }
    };
}

impl Backend for AnyBackend {
    fn receive(&self, socket: RawFd) -> squeue::Entry {
        each!(self, backend => backend.receive(socket))
    }

    #[inline]
    fn payload(
        &mut self,
        cqe: &cqueue::Entry32,
        pool: &mut Pool,
        take: impl FnMut(Buffer, &mut Pool),
    ) -> bool {
        each!(self, backend => backend.payload(cqe, pool, take))
    }

    fn completion(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Completion {
        each!(self, backend => backend.completion(cqe, pool))
    }

    fn settle(&mut self, ring: &Ring, pool: &mut Pool, waiting: usize) -> io::Result<usize> {
        each!(self, backend => backend.settle(ring, pool, waiting))
    }

    fn retries_by_time(&self) -> bool {
        each!(self, backend => backend.retries_by_time())
    }

    fn starvations(&self) -> Option<u64> {
        each!(self, backend => backend.starvations())
    }

    fn flushes(&self) -> Option<u64> {
        each!(self, backend => backend.flushes())
    }

    fn starving(&self) -> bool {
        each!(self, backend => backend.starving())
    }

    fn copied_bytes(&self, received: u64) -> Option<u64> {
        each!(self, backend => backend.copied_bytes(received))
    }

    fn event(&mut self, ring: &Ring, pool: &mut Pool, event: u32) -> io::Result<()> {
        each!(self, backend => backend.event(ring, pool, event))
    }

    fn arm(&mut self, ring: &Ring, event: u32) -> io::Result<()> {
        each!(self, backend => backend.arm(ring, event))
    }

    fn wanted_area(&mut self) -> Option<(u64, u64)> {
        each!(self, backend => backend.wanted_area())
    }

    fn grow(&mut self, ring: &Ring, memory: io::Result<Mapping>, pool: &mut Pool) -> io::Result<bool> {
        each!(self, backend => backend.grow(ring, memory, pool))
    }

    fn no_area(&mut self) {
        each!(self, backend => backend.no_area());
    }

    fn share(&mut self, ring: &Ring, pool: &mut Pool) -> Result<Shared, String> {
        each!(self, backend => backend.share(ring, pool))
    }

    fn zcrx(&self) -> Option<ZcrxSample> {
        each!(self, backend => backend.zcrx())
    }

    fn zcrx_counts(&self, pool: &Pool) -> Option<ZcrxCounts> {
        each!(self, backend => backend.zcrx_counts(pool))
    }
}
