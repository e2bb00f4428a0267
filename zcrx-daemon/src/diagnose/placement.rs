//! Where the buffers of a queue are.

use serde::{Deserialize, Serialize};

use crate::diagnose::thresholds::POOL_CACHE;
use crate::model::{BackendKind, KernelQueue, QueueSample};

/// Where the buffers of an area are at one moment. Counts are buffers; where the kernel delivers buffers in fragments,
/// references are divided by the references per buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Buffers there are.
    pub total: Option<u64>,
    /// On the freelist.
    pub free: Option<u64>,
    /// Held by the owner's code: read from the completion queue and not returned. Without the stashed.
    pub held: Option<u64>,
    /// Returned by the owner's code, but not published, because the refill ring is full.
    pub stashed: Option<u64>,
    /// In completions that the owner has not read, in all rings that have the queue.
    pub completed: Option<u64>,
    /// In the refill ring, not consumed.
    pub pending: Option<u64>,
    /// In sockets, not received: what the unread bytes need at least, and more where small packets leave buffers nearly empty. By the
    /// packets that were looked at; without that, what the kernel has beyond a full receive ring and a full cache.
    pub sockets: Option<u64>,
    /// Unread payload in sockets, bytes.
    #[serde(default)]
    pub unread_bytes: Option<u64>,
    /// In the kernel's hands and not free: posted to the NIC, in the pool's cache, in sockets.
    pub kernel: Option<u64>,
    /// Of these, not in sockets: at most so many.
    pub posted: Option<u64>,
    /// By how many buffers the places can be off: so many moved while the sample was read.
    #[serde(default)]
    pub error: Option<u64>,
    /// References per buffer that user space has; above 1, buffers are delivered in fragments.
    pub fragments: Option<f64>,
    /// Entries of the refill ring.
    pub refill_entries: Option<u64>,
    /// Entries that wait in it.
    pub refill_depth: Option<u64>,
    /// Entries of the completion queue.
    pub cq_entries: Option<u64>,
    /// Completions that wait in it. Several rings may share the queue: then both are those of the fullest.
    pub cq_depth: Option<u64>,
}

impl Placement {
    /// Where they are in this sample.
    pub fn of(sample: &QueueSample) -> Self {
        let kernel = sample.kernel.as_deref();
        let own = sample.local.as_ref();
        let refill = kernel.and_then(|kernel| kernel.refill);
        let cq = kernel.and_then(|kernel| kernel.cq);
        let total =
            kernel.map(KernelQueue::buffers).filter(|&buffers| buffers > 0).or(own.map(|own| own.buffers));
        let user_buffers = kernel.and_then(KernelQueue::user_buffers);
        let fragments = references(sample)
            .zip(user_buffers)
            .filter(|(_, buffers)| *buffers > 0)
            .map(|(references, buffers)| (references as f64 / buffers as f64).max(1.0));
        let buffers_of = |references: u64| {
            let buffers = (references as f64 / fragments.unwrap_or(1.0)).round() as u64;
            total.map_or(buffers, |total| buffers.min(total))
        };
        let refill_depth =
            refill.map(|refill| u64::from(refill.pending())).or(own.map(|own| u64::from(own.refill_depth)));
        let cq_depth = match cq {
            Some(cq) => cq.depth().map(u64::from),
            None => own.map(|own| u64::from(own.cq_depth)),
        };
        let completions =
            kernel.and_then(KernelQueue::completions).or(own.map(|own| u64::from(own.cq_depth)));
        let free = kernel.filter(|kernel| !kernel.areas.is_empty()).map(KernelQueue::free);
        let in_kernel = total
            .zip(free)
            .zip(user_buffers)
            .map(|((total, free), user)| total.saturating_sub(free).saturating_sub(user));
        let cache = kernel.and_then(|kernel| kernel.pool?.cache).map_or(POOL_CACHE, u64::from);
        let in_ring = kernel.and_then(|kernel| kernel.pool?.ring).map_or(0, u64::from);
        let beyond_ring = in_kernel
            .zip(sample.nic.ring)
            .map(|(in_kernel, ring)| in_kernel.saturating_sub(u64::from(ring) + cache + in_ring));
        let sockets = kernel.and_then(|kernel| kernel.sockets).zip(sample.buffer_bytes).map(
            |(backlog, buffer_bytes)| {
                let by_bytes = backlog.unread_bytes.div_ceil(buffer_bytes.max(1));
                let beyond_ring = if backlog.unread_bytes > 0 { beyond_ring.unwrap_or(0) } else { 0 };
                // Packets consist of fragments where buffers are delivered in fragments.
                let buffers = by_bytes.max(backlog.buffers.map_or(beyond_ring, buffers_of));
                in_kernel.map_or(buffers, |in_kernel| buffers.min(in_kernel))
            },
        );
        Self {
            total,
            free,
            held: held_references(sample).map(buffers_of),
            stashed: own.map(|own| own.stashed),
            completed: completions.map(|depth| {
                let references = references(sample).map_or(depth, |references| depth.min(references));
                buffers_of(references)
            }),
            pending: refill_depth.map(buffers_of),
            sockets,
            unread_bytes: kernel.and_then(|kernel| kernel.sockets).map(|backlog| backlog.unread_bytes),
            kernel: in_kernel,
            posted: in_kernel.zip(sockets).map(|(in_kernel, sockets)| in_kernel - sockets),
            error: kernel.and_then(|kernel| kernel.moved).map(u64::from),
            fragments,
            refill_entries: refill
                .map(|refill| u64::from(refill.entries))
                .or(own.map(|own| u64::from(own.refill_capacity))),
            refill_depth,
            cq_entries: cq.map(|cq| u64::from(cq.entries)).or(own.map(|own| u64::from(own.cq_capacity))),
            cq_depth,
        }
    }

    /// How full the refill ring is, 0 to 1.
    pub fn refill_fullness(&self) -> Option<f64> {
        Some(self.refill_depth? as f64 / self.refill_entries.filter(|&entries| entries > 0)? as f64)
    }

    /// So many buffers as a share of the area, 0 to 1.
    pub fn share(&self, buffers: Option<u64>) -> Option<f64> {
        let total = self.total.filter(|&total| total > 0)?;
        Some((buffers? as f64 / total as f64).min(1.0))
    }
}

/// References that user space has to buffers: held, in unread completions, in the refill ring.
pub(super) fn references(sample: &QueueSample) -> Option<u64> {
    let areas = &sample.kernel.as_ref()?.areas;
    if areas.is_empty() {
        return None;
    }
    areas.iter().map(|area| area.user_references).sum()
}

/// References that the owner's code holds: read, and neither returned nor stashed.
pub(in crate::diagnose) fn held_references(sample: &QueueSample) -> Option<u64> {
    if let Some(own) = &sample.local {
        return Some(own.held().saturating_sub(own.stashed));
    }
    let kernel = sample.kernel.as_ref()?;
    let elsewhere = u64::from(kernel.refill?.pending()) + kernel.completions()?;
    Some(references(sample)?.saturating_sub(elsewhere))
}

/// Whether the queue has no device; `None` where that is unknown.
pub(in crate::diagnose) fn without_device(sample: &QueueSample) -> Option<bool> {
    if let Some(backend) = sample.local.as_ref().and_then(|own| own.selection.backend) {
        return Some(backend == BackendKind::Nodev);
    }
    // A device that was read has both; one of them alone means that the other could not be read.
    let kernel = sample.kernel.as_ref()?;
    let named = sample.key.interface.is_some() || kernel.interface.is_some();
    Some(!named && kernel.ifindex.is_none() && kernel.queue.is_none() && kernel.pool.is_none())
}

/// Buffers that user space has and that no allocation could get: held, stashed, in unread completions.
pub(super) fn user(placement: &Placement) -> Option<u64> {
    Some(placement.held? + placement.completed? + placement.stashed.unwrap_or(0))
}

/// Buffers that are out of the allocator's reach: with user space and in sockets.
pub(super) fn out(placement: &Placement) -> Option<u64> {
    Some(user(placement)? + placement.sockets.unwrap_or(0))
}

/// Buffers that an allocation could still get: free, in the pool's cache and its ring, in the refill ring. Without a device nothing
/// takes entries out of that ring: copies get free buffers alone. `placement` is that of the sample.
pub(super) fn available(sample: &QueueSample, placement: &Placement) -> Option<u64> {
    match (placement.free, &sample.kernel) {
        (Some(free), Some(_)) if without_device(sample) == Some(true) => Some(free),
        (Some(free), Some(kernel)) => {
            let pool = kernel
                .pool
                .map_or(0, |pool| u64::from(pool.cache.unwrap_or(0)) + u64::from(pool.ring.unwrap_or(0)));
            Some(free + pool + placement.pending?)
        }
        // The software interface queue posts nothing: what is not out is there.
        _ => Some(placement.total?.saturating_sub(out(placement)?)),
    }
}
