//! The backend that a queue runs on.

use std::io;
use std::os::fd::RawFd;

use io_uring::{cqueue, squeue};

use super::contract::{Backend, Completion};
use super::copy::CopyBackend;
use super::shared::Shared;
use super::zcrx::ZcrxBackend;
use crate::model::{ZcrxCounts, ZcrxSample};
use crate::receive::mapping::Mapping;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::ring::Ring;

/// The backends: an enum, not a trait object, so that the compiler knows the code for each completion.
pub(in crate::receive) enum AnyBackend {
    Zcrx(ZcrxBackend),
    Copy(CopyBackend),
}

impl AnyBackend {
    /// Lets a ring, whose thread must be the calling one, receive into a queue of another thread.
    pub(in crate::receive) fn join(shared: &Shared, ring: &Ring) -> io::Result<(Self, Pool)> {
        let (zcrx_id, pool) = shared.join(ring)?;
        Ok((Self::Zcrx(ZcrxBackend::joined(shared, zcrx_id, &pool)), pool))
    }
}

/// Calls a method of the current backend.
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
    fn payload(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Option<Buffer> {
        each!(self, backend => backend.payload(cqe, pool))
    }

    fn more_payload(&mut self, left: u32, pool: &mut Pool) -> Option<Buffer> {
        each!(self, backend => backend.more_payload(left, pool))
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
