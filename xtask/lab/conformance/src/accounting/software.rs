//! The software queue, fed with as many messages as one likes.

use anyhow::Context;
use zcrx_daemon::receive::refill::{MappedRing, Producer};
use zcrx_daemon::receive::software::RingContext;
use zcrx_uapi::ZcrxRqe;

use super::ENTRIES;
use crate::memory::Memory;
use crate::request::Request;

pub(super) struct SoftwareQueue {
    context: RingContext,
    refill: Producer<MappedRing>,
}

impl SoftwareQueue {
    pub(super) fn new() -> anyhow::Result<Self> {
        let memory = Memory::new(4 * rustix::param::page_size())?;
        let mut request = Request::good(memory);
        request.reg.rq_entries = ENTRIES;
        let mut context = RingContext::new(true, request.setup_flags);
        let (reg, region, area) = (&mut request.reg, &mut request.region, &mut request.area);
        // SAFETY: the region is never unmapped, and what is registered here is its only user.
        unsafe { context.register_ifq(Some(reg), Some(region), Some(area)) }.context("registering")?;
        let refill = Producer::new(context.ifq().context("just registered")?.memory().clone());
        Ok(Self { context, refill })
    }

    /// One message arrives: where it was put, if there was a buffer.
    pub(super) fn receive(&mut self) -> Option<u64> {
        self.flush();
        let allocator = &mut self.context.ifq()?.allocator;
        let niov = allocator.alloc()?;
        let cqe = allocator.dispense(niov, 0);
        allocator.release(niov);
        Some(cqe.off)
    }

    pub(super) fn publish(&mut self, entry: ZcrxRqe) -> anyhow::Result<()> {
        self.refill.push(entry);
        self.refill.publish();
        anyhow::ensure!(self.refill.stashed() == 0, "the refill ring is full");
        Ok(())
    }

    /// Consumes all entries.
    pub(super) fn flush(&mut self) {
        if let Some(ifq) = self.context.ifq() {
            ifq.allocator.flush();
        }
    }
}
