//! Registers a thread's queue, or joins the queue of its group.

use std::io;
use std::time::Duration;

use tracing::warn;

use super::thread;
use crate::model::{BackendKind, Selection};
use crate::receive::ReceiveError;
use crate::receive::backend::{AnyBackend, Backend, Selected, Shared, SurvivingQueue, select};
use crate::receive::group::Joined;
use crate::receive::plan::Plan;
use crate::receive::prepared::{Prepared, ifindex, with_current_name};
use crate::receive::ring::Ring;

/// Creates a ring for the calling thread and registers a queue on the best backend. The second value lets other threads join the
/// queue. Returns early when the thread must stop.
pub(super) fn best(plan: &Plan) -> Result<(Prepared, Option<Shared>), ReceiveError> {
    let mut ring = Ring::new(plan.config.cq_entries)?;
    thread::gather(plan, &mut ring);
    let busy_poll = thread::busy_poll(plan, &ring);
    // Before registering: an interface that changes in between is noticed.
    let config = with_current_name(&plan.config, plan.stats.ifindex());
    let ifindex = ifindex(&config);
    let pause = |pause: Duration| {
        plan.wake.sleep(pause);
        !plan.wake.stopped()
    };
    let Selected { mut backend, mut pool, selection } = select(&ring, &config, plan.outlives(), &pause)?;
    let shared = plan.slot.as_ref().and_then(|_| {
        let alone = |why: &String| {
            warn!(queue = plan.name, "one thread instead of {}: {why}", plan.config.workers);
        };
        backend.share(&ring, &mut pool).inspect_err(alone).ok()
    });
    Ok((Prepared { ring, backend, pool, selection, ifindex, busy_poll }, shared))
}

/// Creates a ring that continues the hardware queue of the zcrxd before.
pub(super) fn taken_over(plan: &Plan, queue: SurvivingQueue) -> Result<Prepared, ReceiveError> {
    let mut ring = Ring::new(plan.config.cq_entries)?;
    thread::gather(plan, &mut ring);
    let busy_poll = thread::busy_poll(plan, &ring);
    let ifindex = Some(queue.state().ifindex());
    let (backend, pool) = AnyBackend::join(&queue.open()?, &ring)?;
    let selection = Selection { backend: Some(BackendKind::Device), refused: Vec::new() };
    Ok(Prepared { ring, backend, pool, selection, ifindex, busy_poll })
}

/// Creates a ring that receives from another thread's queue.
pub(super) fn joined(plan: &Plan, joined: &Joined) -> Result<Prepared, ReceiveError> {
    let mut ring = Ring::new(plan.config.cq_entries)?;
    thread::gather(plan, &mut ring);
    let busy_poll = thread::busy_poll(plan, &ring);
    let (backend, pool) = AnyBackend::join(&joined.shared, &ring)?;
    let selection = Selection { backend: Some(joined.shared.kind()), refused: Vec::new() };
    Ok(Prepared { ring, backend, pool, selection, ifindex: None, busy_poll })
}

/// Makes the calling thread the owner of a ring that a helper prepared.
pub(super) fn enable(prepared: &mut Prepared, plan: &Plan) -> io::Result<()> {
    prepared.ring.enable()?;
    thread::gather(plan, &mut prepared.ring);
    prepared.busy_poll = thread::busy_poll(plan, &prepared.ring);
    Ok(())
}
