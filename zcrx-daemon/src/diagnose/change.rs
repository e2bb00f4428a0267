//! What changed between two samples of one queue.

use std::time::Duration;

use super::placement::references;
use crate::model::QueueSample;

/// How far the counters of a queue went between two samples. `None` where one of the samples does not know, or where
/// a counter went back because its source was replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Time between the samples.
    pub span: Duration,
    /// Allocations that failed: as the probe counts them, else the NIC, else the software queue.
    pub failures: Option<u64>,
    /// Provider calls.
    pub calls: Option<u64>,
    /// Buffers that provider calls yielded.
    pub yielded: Option<u64>,
    /// Of these, from the freelist.
    pub from_freelist: Option<u64>,
    /// Refill entries that provider calls consumed.
    pub consumed: Option<u64>,
    /// Refill entries that left the ring: by provider calls or a flush.
    pub fetched: Option<u64>,
    /// Refill entries that the owner published.
    pub returned: Option<u64>,
    /// Completions that the kernel posted, those of anything else on that ring among them.
    pub posted: Option<u64>,
    /// References to buffers that user space has now beyond those it had: held, in unread completions, in the refill ring.
    pub references: Option<i64>,
    /// Completions that the owner read.
    pub cq_read: Option<u64>,
    /// Completions that found no room.
    pub cq_overflows: Option<u64>,
    /// Payload received, bytes.
    pub bytes: Option<u64>,
    /// Packets dropped by the NIC; where its driver counts none but drops a packet for each failed allocation, those.
    pub drops: Option<u64>,
    /// Of these, packets that found no buffer, where the driver counts them apart.
    pub overruns: Option<u64>,
    /// Runs of the NAPI poll function.
    pub polls: Option<u64>,
    /// Copies made by the kernel.
    pub copies: Option<u64>,
    /// Bytes copied by the kernel.
    pub copied_bytes: Option<u64>,
    /// Time without a buffer to allocate: from a failed allocation to the next success, as the allocation probe counts it.
    pub starved: Option<Duration>,
    /// Times that failures began.
    pub starvations: Option<u64>,
    /// Bytes that the NIC counts on the queue, headers included.
    pub nic_bytes: Option<u64>,
    /// Receives that ended with ENOMEM.
    pub enomem: Option<u64>,
    /// Receives that ended with ENOSPC.
    pub enospc: Option<u64>,
    /// Receives that ended with EFAULT.
    pub efault: Option<u64>,
}

impl Change {
    /// From the earlier to the later of two samples.
    pub fn between(earlier: &QueueSample, later: &QueueSample) -> Self {
        let counter = |read: fn(&QueueSample) -> Option<u64>| read(later)?.checked_sub(read(earlier)?);
        // Ring indices run modulo 2^32: a difference is right across the wrap, as long as it is below 2^32.
        let index =
            |read: fn(&QueueSample) -> Option<u32>| Some(read(later)?.wrapping_sub(read(earlier)?) as u64);
        let cqs = |read| later.kernel.as_ref()?.cqs_went(earlier.kernel.as_ref()?, read);
        Self {
            span: later.at.saturating_sub(earlier.at),
            failures: counter(failures),
            calls: counter(|sample| Some(sample.kernel.as_ref()?.allocation?.calls)),
            yielded: counter(|sample| Some(sample.kernel.as_ref()?.allocation?.buffers)),
            from_freelist: counter(|sample| Some(sample.kernel.as_ref()?.allocation?.from_freelist)),
            consumed: counter(|sample| Some(sample.kernel.as_ref()?.allocation?.consumed)),
            fetched: index(|sample| Some(sample.kernel.as_ref()?.refill?.cached_head)),
            returned: Returned::between(earlier, later).returned,
            posted: cqs(|cq| cq.tail),
            references: references(later)
                .zip(references(earlier))
                .map(|(now, before)| now.cast_signed() - before.cast_signed()),
            cq_read: cqs(|cq| cq.head).or_else(|| counter(|sample| Some(sample.local.as_ref()?.completions))),
            cq_overflows: counter(|sample| Some(sample.local.as_ref()?.cq_overflows))
                .or_else(|| cqs(|cq| cq.overflow)),
            bytes: counter(bytes),
            drops: counter(|sample| sample.nic.hw_drops.or(sample.nic.hw_drop_overruns))
                .or_else(|| counter(failures).filter(|_| later.nic.keeps_posted)),
            overruns: counter(|sample| sample.nic.hw_drop_overruns),
            polls: counter(|sample| sample.napi_polls),
            copies: counter(|sample| Some(sample.copies?.calls)),
            copied_bytes: counter(|sample| Some(sample.copies?.bytes))
                .or_else(|| counter(|sample| sample.local.as_ref()?.copied_bytes)),
            starved: starved(later).zip(starved(earlier)).map(|(now, before)| now.saturating_sub(before)),
            starvations: counter(|sample| Some(sample.kernel.as_ref()?.allocation?.starvations)),
            nic_bytes: counter(|sample| sample.nic.rx_bytes),
            enomem: counter(|sample| error(sample, libc::ENOMEM)),
            enospc: counter(|sample| error(sample, libc::ENOSPC)),
            efault: counter(|sample| error(sample, libc::EFAULT)),
        }
    }

    /// Whether the owner did anything: received, read completions, or returned buffers.
    pub fn shows_activity(&self) -> bool {
        some(self.cq_read) || some(self.returned) || some(self.bytes)
    }

    /// A count per second; `None` where the count is, or where no time passed.
    pub fn rate(&self, count: Option<u64>) -> Option<f64> {
        let seconds = self.span.as_secs_f64();
        (seconds > 0.0).then_some(count? as f64 / seconds)
    }

    /// Refill entries that gave no buffer back to the call that consumed them: fragments of pinned buffers, buffers whose
    /// packet still lies in a socket (these come back with it), or bad entries. `None` also where copies
    /// are made and not counted: the entry of a copy gives its buffer to the freelist and not to the caller.
    pub fn wasted(&self) -> Option<u64> {
        let recycled = self.yielded?.saturating_sub(self.from_freelist?);
        let copies = if some(self.copied_bytes) { self.copies? } else { 0 };
        Some(self.consumed?.saturating_sub(recycled).saturating_sub(copies))
    }

    /// Refill entries that dropped no reference: bad ones. What was posted and is not out any more was returned rightly. Counts the
    /// entries by the ring's head, which the snapshot reads with completions and references: the probe's counts are read later.
    /// `None` also where more was posted than can be zcrx's: the ring is used for other things.
    pub fn rejected(&self) -> Option<u64> {
        let consumed = self.fetched.or(self.consumed)?;
        let returned_rightly = self.posted?.cast_signed() - self.references?;
        let other_things = returned_rightly > (consumed + consumed / 10 + 64).cast_signed();
        (!other_things).then(|| consumed.saturating_sub(u64::try_from(returned_rightly).unwrap_or(0)))
    }
}

/// What came back between two samples of one queue: the part of a [`Change`] that rules look at over several times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    /// Time between the samples.
    pub span: Duration,
    /// Refill entries that the owner published.
    pub returned: Option<u64>,
}

impl Returned {
    /// From the earlier to the later of two samples.
    pub fn between(earlier: &QueueSample, later: &QueueSample) -> Self {
        let of_local = |sample: &QueueSample| Some(sample.local.as_ref()?.returned);
        let tail = |sample: &QueueSample| Some(sample.kernel.as_ref()?.refill?.tail);
        let by_itself = || of_local(later)?.checked_sub(of_local(earlier)?);
        // The ring's index runs modulo 2^32.
        let by_kernel = || Some(u64::from(tail(later)?.wrapping_sub(tail(earlier)?)));
        Self { span: later.at.saturating_sub(earlier.at), returned: by_itself().or_else(by_kernel) }
    }
}

/// Whether a count is known and not zero.
pub(in crate::diagnose) fn some(count: Option<u64>) -> bool {
    count.is_some_and(|count| count > 0)
}

/// Whether a count is known to be zero.
pub(in crate::diagnose) fn none(count: Option<u64>) -> bool {
    count == Some(0)
}

/// Time without a buffer so far, the present starvation included.
fn starved(sample: &QueueSample) -> Option<Duration> {
    let count = sample.kernel.as_ref()?.allocation?;
    let present = count.starving_since.map_or(Duration::ZERO, |since| sample.at.saturating_sub(since));
    Some(count.starved + present)
}

/// Failed allocations so far, from the best source there is.
fn failures(sample: &QueueSample) -> Option<u64> {
    let probed = sample.kernel.as_ref().and_then(|kernel| kernel.allocation).map(|count| count.failures);
    probed.or(sample.nic.alloc_fail).or_else(|| sample.local.as_ref()?.starvations)
}

/// Payload received so far, from the best source there is.
fn bytes(sample: &QueueSample) -> Option<u64> {
    sample.local.as_ref().map(|own| own.bytes).or(sample.received_bytes).or(sample.nic.rx_bytes)
}

fn error(sample: &QueueSample, errno: i32) -> Option<u64> {
    let errors = sample.local.as_ref().map(|own| &own.errors).or(sample.errors.as_ref())?;
    Some(errors.get(&errno).copied().unwrap_or(0))
}
