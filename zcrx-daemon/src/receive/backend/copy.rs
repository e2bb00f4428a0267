//! The software interface queue, filled by ordinary receives.

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use io_uring::{cqueue, opcode, squeue, types};

use super::area::Area;
use super::contract::{Backend, Completion};
use super::posted::{GROUP, Posted};
use crate::model::{BackendKind, Refusal};
use crate::receive::config::QueueConfig;
use crate::receive::pool::{Buffer, Pool};
use crate::receive::refill::MappedRing;
use crate::receive::ring::{Ring, SETUP_FLAGS};
use crate::receive::software::RingContext;
use zcrx_uapi::ZcrxIfqReg;

/// Works on every kernel with io_uring's deferred task work (Linux 6.1), as any user.
pub(in crate::receive) struct CopyBackend {
    /// Holds the registered queue.
    context: RingContext,
    posted: Posted,
    area_address: u64,
    /// Whether one completion may bring several buffers (Linux 6.10).
    bundles: bool,
    /// Buffer that follows the last one taken: a bundle fills buffers in the order in which they were posted.
    next: u16,
    starvations: u64,
    starving: bool,
}

impl CopyBackend {
    /// Registers a software queue and posts its first buffers.
    pub(super) fn register(ring: &Ring, config: &QueueConfig) -> Result<(Self, Pool), Refusal> {
        let refuse = |step: &str, error: &io::Error, remedy: &str| Refusal {
            backend: BackendKind::Copy,
            step: step.to_owned(),
            errno: error.raw_os_error(),
            reason: error.to_string(),
            remedy: remedy.to_owned(),
        };
        let memory =
            |error: io::Error| refuse("map its memory", &error, "make area_bytes smaller or free memory");
        let buffer_bytes = config.copy_buffer_bytes();
        let mut area = Area::for_copies(config, buffer_bytes).map_err(memory)?;
        let mut reg =
            ZcrxIfqReg { if_rxq: config.queue, rq_entries: config.refill_entries, ..ZcrxIfqReg::default() };
        // Privileged: this queue takes no hardware and sees no data but its own sockets', which is what the check
        // protects. That is why the backend works as any user.
        let mut context = RingContext::new(true, SETUP_FLAGS).with_buffer_bytes(buffer_bytes as u32);
        // SAFETY: the region is mapped as long as the queue, which lives in the backend: the pool that is made below
        // shares its ownership, and both are dropped together. User space accesses it by atomics.
        unsafe { context.register_ifq(Some(&mut reg), Some(&mut area.region_desc), Some(&mut area.reg)) }
            .map_err(|errno| {
                refuse("register a software queue", &errno.into(), "check area_bytes and refill_entries")
            })?;
        let ifq = context.ifq().expect("a registration that succeeded leaves a queue");
        let niovs = ifq.allocator.niovs();
        let buffer_bytes = u64::from(ifq.allocator.niov_bytes());
        let refill = MappedRing::new(Arc::clone(&area.region), &reg.offsets, reg.rq_entries)
            .expect("the software queue places its ring inside its region");
        let posted = Posted::register(ring, niovs)
            .map_err(|error| refuse("register a buffer ring", &error, "use Linux 6.1 or later"))?;
        let area_address = area.memory.address();
        let mut pool = Pool::new(refill, buffer_bytes);
        pool.add_area(area.memory, area.reg.rq_area_token)
            .expect("the software queue's first area is area 0");
        let bundles = ring.has_bundles();
        let mut backend =
            Self { context, posted, area_address, bundles, next: 0, starvations: 0, starving: false };
        backend.post();
        Ok((backend, pool))
    }

    /// Posts as many buffers as there is room for, or as there are.
    fn post(&mut self) {
        let Some(ifq) = self.context.ifq() else { return };
        while self.posted.has_room() {
            let Some(niov) = ifq.allocator.alloc() else { break };
            let address = self.area_address + ifq.allocator.offset_of(niov) as u64;
            if let Err(niov) = self.posted.post(niov, address, ifq.allocator.niov_bytes()) {
                ifq.allocator.release(niov);
                break;
            }
        }
        self.posted.commit();
    }

    /// Takes back a buffer that a completion names and that holds nothing.
    fn take_back(&mut self, id: u16) {
        if let (Some(ifq), Some(niov)) = (self.context.ifq(), self.posted.take(id)) {
            ifq.allocator.release(niov);
        }
    }
}

impl Backend for CopyBackend {
    fn receive(&self, socket: RawFd) -> squeue::Entry {
        if self.bundles {
            opcode::RecvMultiBundle::new(types::Fd(socket), GROUP).build()
        } else {
            opcode::RecvMulti::new(types::Fd(socket), GROUP).build()
        }
    }

    // Out of line: it would fill the registers of the loop that both backends share, and costs little beside the kernel's copy.
    #[inline(never)]
    fn payload(&mut self, cqe: &cqueue::Entry32, pool: &mut Pool) -> Option<Buffer> {
        self.next = cqueue::buffer_select(cqe.flags())?;
        self.more_payload(cqe.result() as u32, pool)
    }

    fn more_payload(&mut self, left: u32, pool: &mut Pool) -> Option<Buffer> {
        let ifq = self.context.ifq()?;
        let niov = self.posted.take(self.next)?;
        self.next = self.posted.after(self.next);
        let data = ifq.allocator.dispense(niov, 0);
        ifq.allocator.release(niov);
        pool.dispense(data.off, left.min(ifq.allocator.niov_bytes())).ok()
    }

    fn completion(&mut self, cqe: &cqueue::Entry32, _pool: &mut Pool) -> Completion {
        if let Some(id) = cqueue::buffer_select(cqe.flags()) {
            self.take_back(id);
        }
        match -cqe.result() {
            0 => Completion::End,
            libc::ENOBUFS => Completion::NoBuffers(libc::ENOBUFS),
            libc::EAGAIN | libc::EINTR => Completion::Nothing,
            errno => Completion::Failed(if errno > 0 { errno } else { libc::EIO }),
        }
    }

    fn settle(&mut self, _ring: &Ring, _pool: &mut Pool, waiting: usize) -> io::Result<usize> {
        self.post();
        let starving = waiting > 0 && self.posted.len() == 0;
        if starving && !self.starving {
            self.starvations += 1;
        }
        self.starving = starving;
        Ok(waiting.min(self.posted.len()))
    }

    fn retries_by_time(&self) -> bool {
        // Buffers come back within this process: `settle` sees it.
        false
    }

    fn starvations(&self) -> Option<u64> {
        Some(self.starvations)
    }

    fn flushes(&self) -> Option<u64> {
        None
    }

    fn starving(&self) -> bool {
        self.starving
    }

    fn copied_bytes(&self, received: u64) -> Option<u64> {
        Some(received)
    }
}
