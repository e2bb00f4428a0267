//! What two consecutive samples of a queue show of the buffers it needed between them.

use crate::diagnose::change::{Change, some};
use crate::diagnose::placement::{Placement, available, without_device};
use crate::diagnose::thresholds::POOL_CACHE;
use crate::model::QueueSample;

/// The time between two samples. Numbers of buffers in use are bounds of the most that were in use at once: posted, in the pool's
/// cache, in sockets, or with user space.
#[derive(Clone, Debug)]
pub(super) struct Interval {
    /// Buffers of the area, the fewest and the most at both samples.
    pub(super) area: (u64, u64),
    /// Whether an allocation or a copy found no buffer; `None` where nothing counts that.
    pub(super) failed: Option<bool>,
    /// Packets that the NIC dropped.
    pub(super) lost: Option<u64>,
    /// At least so many buffers were in use at once.
    pub(super) least: u64,
    /// An area of this size repeats every move of the recorded one, by the freelist's lowest level.
    pub(super) by_freelist: Option<u64>,
    /// At most so many buffers were in use at once, by the kernel's mark of the fewest allocatable ones. `None` where a refill
    /// entry does not return a buffer: fragments, bad entries, copies.
    pub(super) by_mark: Option<u64>,
    /// Whether each refill entry and each packet stands for one buffer.
    pub(super) whole_buffers: bool,
    /// Most refill entries that waited at once, at least and at most.
    pub(super) entries: (u64, u64),
}

impl Interval {
    /// Between two samples; `None` where one of them does not show the area.
    pub(super) fn between(earlier: &QueueSample, later: &QueueSample) -> Option<Self> {
        let (before, after) = (Placement::of(earlier), Placement::of(later));
        let change = Change::between(earlier, later);
        let area = (before.total?.min(after.total?), before.total?.max(after.total?));
        let error = 2 * after.error.unwrap_or(0).max(before.error.unwrap_or(0));
        let device = without_device(later) == Some(false) && later.kernel.is_some();
        // The pool's cache is filled otherwise in an area of another size.
        let slack = error + if device { POOL_CACHE } else { 0 };
        let marks = later.kernel.as_ref().and_then(|kernel| kernel.watermarks);
        let mark = marks.and_then(|marks| marks.least_allocatable).map(u64::from);
        let sampled = available(earlier, &before)
            .zip(available(later, &after))
            .map(|(before, after)| before.min(after));
        let fewest = [mark, sampled].into_iter().flatten().min();
        let copies_none = change.copied_bytes == Some(0);
        let mut fragments = [before.fragments, after.fragments].into_iter().flatten();
        let fragmented = fragments.any(|fragments| fragments > 1.0);
        let whole_buffers = copies_none && !fragmented && change.wasted() == Some(0);
        // Where the probe counts calls and none was made, no allocation could fail.
        let least_allocatable = if marks.is_some() && mark.is_none() { sampled } else { mark };
        let by_mark = least_allocatable
            .filter(|_| device && whole_buffers)
            .map(|allocatable| (area.1 + slack + 1).saturating_sub(allocatable));
        Some(Self {
            area,
            failed: failed(&change, later),
            lost: change.drops,
            least: fewest.map_or(0, |fewest| area.0.saturating_sub(fewest + slack)),
            by_freelist: lowest_freelist(&change, earlier, later, (&before, &after))
                .map(|lowest| (area.1 + error).saturating_sub(lowest)),
            by_mark,
            whole_buffers,
            entries: entries(&change, later, (&before, &after)),
        })
    }
}

/// Whether an allocation or a copy found no buffer.
fn failed(change: &Change, later: &QueueSample) -> Option<bool> {
    let allocation = later.kernel.as_ref().and_then(|kernel| kernel.allocation);
    let waits = allocation.is_some_and(|count| count.starving_since.is_some())
        || later.local.as_ref().and_then(|local| local.starving) == Some(true);
    if waits || some(change.failures) || some(change.enomem) {
        return Some(true);
    }
    let counted = if without_device(later) == Some(true) { change.enomem } else { change.failures };
    counted.map(|_| false)
}

/// The lowest level that the freelist can have had between two samples. Buffers come back to it from copies and from a page pool
/// that ends; else its level only falls.
fn lowest_freelist(
    change: &Change,
    earlier: &QueueSample,
    later: &QueueSample,
    (before, after): (&Placement, &Placement),
) -> Option<u64> {
    let (before, after) = (before.free?, after.free?);
    let copies = match (change.copied_bytes, change.copies) {
        (Some(0), _) => 0,
        (_, Some(copies)) => copies,
        // A copy makes a completion.
        _ => change.posted?,
    };
    let taken = match change.from_freelist {
        Some(taken) => taken,
        None if without_device(later) == Some(true) => 0,
        None => {
            let pool = |sample: &QueueSample| Some(sample.kernel.as_ref()?.pool?.id);
            return (copies == 0 && pool(earlier) == pool(later)).then(|| before.min(after));
        }
    };
    let came_back = (after + taken + copies).saturating_sub(before);
    Some(if came_back == 0 { before.min(after) } else { before.saturating_sub(taken + copies) })
}

/// The most refill entries that waited at once: at least as many as were seen, at most as the kernel's mark says.
fn entries(change: &Change, later: &QueueSample, (before, after): (&Placement, &Placement)) -> (u64, u64) {
    let seen = before.refill_depth.max(after.refill_depth).unwrap_or(0);
    let mark = later.kernel.as_ref().and_then(|kernel| kernel.watermarks?.most_pending).map(u64::from);
    // A flush takes entries that no allocation counts.
    let flushed = change.fetched.zip(change.consumed).is_none_or(|(fetched, consumed)| fetched > consumed);
    match mark {
        Some(mark) if !flushed => (seen.max(mark), seen.max(mark)),
        mark => {
            let capacity = after.refill_entries.unwrap_or(u64::MAX);
            let returned = before.refill_depth.zip(change.returned);
            let most = returned.map_or(capacity, |(depth, returned)| (depth + returned).min(capacity));
            (seen.max(mark.unwrap_or(0)), most.max(seen))
        }
    }
}
