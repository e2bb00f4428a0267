//! Which area and which refill ring would carry the load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Answer;
use crate::diagnose::facts::{Facts, some};
use crate::diagnose::placement::{out, user, without_device};
use crate::diagnose::thresholds::{MOST, POOL_CACHE};
use crate::diagnose::words;

/// Sizes that would carry the load that was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Area, buffers. Never below what was in use at once.
    pub area_buffers: u64,
    /// Size of such an area, bytes; `None` where the size of a buffer is unknown.
    pub area_bytes: Option<u64>,
    /// Refill ring, entries: a power of two.
    pub refill_entries: u32,
    /// An allocation failed: how many more buffers would have been in use at once is not seen, and the area may have to be
    /// larger yet.
    #[serde(default)]
    pub at_least: bool,
    /// The time over which the load was observed.
    #[serde(default)]
    pub observed: Duration,
}

/// The kernel takes no more entries (`IO_RQ_MAX_ENTRIES`).
const MOST_REFILL_ENTRIES: u64 = 32_768;

/// Room above the most that was in use at once: another day's load is not the same.
const SPARE: f64 = 1.1;

/// Room above the most that samples show in use, where only samples show it: bursts lie between them.
const UNSEEN: f64 = 1.5;

/// How much more may go out than comes back while the owner keeps up: rates are taken over seconds, and both ends of that time catch
/// the owner somewhere in its work.
const KEEPS_UP: f64 = 1.05;

pub(super) fn sizes(facts: &Facts<'_>, arrivals: Option<f64>, returns: Option<f64>) -> Answer<Sizes> {
    let steps = facts.history.steps();
    let Some(user_peak) = steps.iter().filter_map(|step| user(&step.placement)).max() else {
        return Answer::Unknown("what user space holds is unknown".to_owned());
    };
    let answer = |area_buffers: u64, refill_entries: u32| {
        Answer::Known(Sizes {
            area_buffers,
            area_bytes: facts.now.buffer_bytes.map(|buffer| area_buffers * buffer),
            refill_entries,
            at_least: some(facts.whole.failures),
            observed: facts.whole.span,
        })
    };
    if facts.starved() && facts.mostly_with_user() {
        // A ring with an entry for each reference there can be never has a return that does not fit; what of the area is
        // away for other reasons, such an owner does not show.
        if let (true, None, Some(total)) = (facts.refill_was_full(), &facts.now.local, facts.placement.total)
        {
            return answer(total, entries_for(facts, total));
        }
        return Answer::Unknown(
            "no size advice while starved: the owner takes all that it can get".to_owned(),
        );
    }
    if without_device(facts.now) == Some(true) && facts.typical().pending >= Some(MOST) {
        return Answer::Unknown(
            "no size helps: returned entries wait in the refill ring for FLUSH_RQ".to_owned(),
        );
    }
    let silent = facts.owner.active == Some(false) && facts.owner.ever_active && facts.starved();
    if facts.owner.halt.is_some() || silent || facts.owner_stopped_reading() {
        return Answer::Unknown("the owner does not run: its load shows when it does".to_owned());
    }
    if let (Some(arrivals), Some(returns)) = (arrivals, returns)
        && arrivals > returns * KEEPS_UP
        && !facts.starved()
    {
        return Answer::Unknown(format!(
            "no size is large enough: buffers go out at {} and come back at {}",
            words::rate(arrivals),
            words::rate(returns)
        ));
    }
    let has_device = facts.now.kernel.as_ref().is_some_and(|kernel| kernel.pool.is_some());
    let ring = match (has_device, facts.now.nic.ring) {
        (true, Some(ring)) => u64::from(ring) + POOL_CACHE,
        (false, _) => 0,
        (true, None) => return Answer::Unknown("the size of the receive ring is unknown".to_owned()),
    };
    let floors = facts.history.floors();
    let kept = floors.stretches().iter().chain(floors.minutes()).map(|stretch| u64::from(stretch.most_out));
    let peak = steps.iter().filter_map(|step| out(&step.placement)).chain(kept).max().unwrap_or(0);
    if peak == 0 && user_peak == 0 && !harmed(facts) {
        return Answer::Unknown("no sample shows a buffer in use".to_owned());
    }
    let by_samples = ring + (peak as f64 * UNSEEN).ceil() as u64;
    let mut area_buffers = by_samples;
    if let Some(total) = facts.placement.total {
        if harmed(facts) {
            // The peaks lie between the samples, and what was lost would have been in use too.
            let lost = steps.iter().filter_map(|step| step.change.drops).max().unwrap_or(0).min(total);
            let sockets =
                facts.now.kernel.as_ref().and_then(|kernel| kernel.sockets).zip(facts.now.buffer_bytes);
            let may_wait =
                sockets.map_or(0, |(backlog, buffer)| backlog.limit_bytes / buffer.max(1)).min(total);
            area_buffers = area_buffers.max(total * 2 + lost).max(by_samples + 2 * may_wait);
        } else if let Some(used) = most_in_use(facts, total) {
            // The kernel's own mark of what was in use at once: no burst can hide from it, unless it found the area empty.
            let marked = (used as f64 * SPARE).ceil() as u64;
            area_buffers = if some(facts.whole.failures) { marked.max(by_samples) } else { marked };
        } else {
            area_buffers = area_buffers.max(total.min(by_samples * 2));
        }
    }
    // Once the receive ring has run dry, user space can have the whole area, and returns all of it at once.
    answer(area_buffers, entries_for(facts, area_buffers))
}

/// The most buffers that were ever in use at once, the receive ring and the pool's cache included, by the kernel's own
/// accounts. The allocator takes from the freelist only what the refill ring does not have, and recycled buffers do not
/// go back there: what has left the freelist was needed at once. `None` where copies put buffers back.
fn most_in_use(facts: &Facts<'_>, total: u64) -> Option<u64> {
    facts.now.kernel.as_ref()?.pool?;
    if some(facts.whole.copied_bytes) {
        return None;
    }
    let least_free = facts.history.steps().iter().filter_map(|step| step.placement.free).min()?;
    Some(total - least_free.min(total))
}

/// Entries of a refill ring into which the returns of so many buffers fit at once.
fn entries_for(facts: &Facts<'_>, buffers: u64) -> u32 {
    let references = buffers as f64 * facts.most_fragments().unwrap_or(1.0);
    (references.ceil() as u64).max(64).next_power_of_two().min(MOST_REFILL_ENTRIES) as u32
}

/// Whether allocations failed and packets were lost in the window.
fn harmed(facts: &Facts<'_>) -> bool {
    some(facts.whole.failures) && some(facts.whole.drops)
}
