//! The vocabulary of the rules: what a window of samples says, computed once.

mod change;
mod placement;
#[cfg(test)]
mod tests;
mod trend;

use std::time::Duration;

use super::thresholds::{CONSIDERABLE, LASTING, LATEST, RECENT, SHALLOW, THROUGHOUT};
use crate::model::{QueueSample, Window};

pub use change::Change;
pub(super) use change::{none, some};
pub use placement::Placement;
pub(super) use placement::{held_references, without_device};
pub use trend::Floor;

/// What a window says.
pub struct Facts<'w> {
    /// The window itself.
    pub window: &'w Window,
    /// The newest sample.
    pub now: &'w QueueSample,
    /// Where the buffers are now.
    pub placement: Placement,
    /// What changed in the last two seconds or so.
    pub recent: Change,
    /// What changed in the last quarter of a second, or in the last step if that is longer.
    pub latest: Change,
    /// What changed in the whole window.
    pub whole: Change,
    /// What the owner's code holds, in references, at its least.
    pub held_floor: Option<Floor>,
    /// The most references per buffer in any sample: the last fragment of each buffer has company no more.
    pub most_fragments: Option<f64>,
    /// The fullest the refill ring was seen, 0 to 1: in a sample, or by the kernel when it came for entries.
    pub fullest_refill: Option<f64>,
}

impl<'w> Facts<'w> {
    /// Of a window; `None` if that is empty.
    pub fn of(window: &'w Window) -> Option<Self> {
        let now = window.last()?;
        let oldest = window.samples().next()?;
        let before = |time: Duration| {
            let since = now.at.saturating_sub(time);
            window.samples().rev().find(|sample| sample.at <= since).unwrap_or(oldest)
        };
        let placements: Vec<_> = window.samples().map(Placement::of).collect();
        let most = |read: fn(&Placement) -> Option<f64>| placements.iter().filter_map(read).reduce(f64::max);
        let fullness = |placement: &Placement| {
            Some(
                placement.refill_depth? as f64
                    / placement.refill_entries.filter(|&entries| entries > 0)? as f64,
            )
        };
        Some(Self {
            window,
            now,
            placement: Placement::of(now),
            recent: Change::between(before(RECENT), now),
            latest: Change::between(before(LATEST), now),
            whole: Change::between(oldest, now),
            held_floor: Floor::of(window, held_references),
            most_fragments: most(|placement| placement.fragments),
            fullest_refill: most(fullness).into_iter().chain(fullest_when_asked(now)).reduce(f64::max),
        })
    }

    /// Since when allocations have failed without a success, as the kernel's probe stamps it.
    pub fn starving_since(&self) -> Option<Duration> {
        self.now.kernel.as_ref()?.allocation?.starving_since
    }

    /// Whether the queue lacks buffers now: allocations fail, or the last one failed.
    pub fn starved(&self) -> bool {
        some(self.recent.failures) || self.starving_since().is_some() || self.software_starving()
    }

    /// Whether a receive of the software interface queue waits for a buffer.
    pub fn software_starving(&self) -> bool {
        self.now.local.as_ref().and_then(|own| own.starving) == Some(true)
    }

    /// Whether buffers came back just now.
    pub fn returning(&self) -> bool {
        some(self.latest.returned)
    }

    /// Whether no buffer has come back for long enough to mean something.
    pub fn returns_ended(&self) -> bool {
        let returning =
            |(earlier, later): &(&QueueSample, &QueueSample)| !none(Change::between(earlier, later).returned);
        let last = self.window.steps().rev().find(returning);
        let quiet = last.map_or(self.whole.span, |(_, later)| self.now.at.saturating_sub(later.at));
        quiet >= LASTING && !self.returns_in_bursts()
    }

    /// Whether nothing comes back now, but nothing did for about as long before, with much in the owner's hands, and
    /// then something came back after all: an owner that holds each buffer for seconds returns in bursts.
    pub fn returns_in_bursts(&self) -> bool {
        let (mut pause, mut longest) = (Duration::ZERO, Duration::ZERO);
        for (earlier, later) in self.window.steps() {
            let change = Change::between(earlier, later);
            let placement = Placement::of(later);
            if !none(change.returned) {
                longest = longest.max(pause);
                pause = Duration::ZERO;
            } else if placement.share(placement.held).is_some_and(|held| held >= CONSIDERABLE) {
                pause += change.span;
            }
        }
        !pause.is_zero() && pause <= longest * 2
    }

    /// The least that the owner held in the last seconds, in buffers: what it works on goes up and down, what it lost
    /// stays. `None` where it was not known all that time.
    pub fn held_throughout(&self) -> Option<u64> {
        let since = self.now.at.saturating_sub(THROUGHOUT);
        let oldest = self.window.samples().next()?;
        if oldest.at > since {
            return None;
        }
        let held = self
            .window
            .samples()
            .filter(|sample| sample.at >= since)
            .map(|sample| Placement::of(sample).held);
        held.reduce(|least, held| Some(least?.min(held?))).flatten()
    }

    /// Whether completions wait and the owner has read none of late.
    pub fn owner_stopped_reading(&self) -> bool {
        self.placement.cq_depth.is_some_and(|depth| depth > 0)
            && none(self.recent.cq_read)
            && self.recent_is_long_enough()
    }

    /// Whether the recent past covers enough time to say that something did not happen in it.
    pub fn recent_is_long_enough(&self) -> bool {
        self.recent.span >= RECENT / 2
    }

    /// Whether the owner reads its completions: hardly any wait. `None` where that is unknown.
    pub fn cq_shallow(&self) -> Option<bool> {
        Some(self.placement.share(self.placement.completed)? <= SHALLOW)
    }

    /// Whether hardly any refill entry waits. `None` where that is unknown.
    pub fn refill_shallow(&self) -> Option<bool> {
        Some(self.placement.share(self.placement.pending)? <= SHALLOW)
    }

    /// Whether the refill ring was seen full.
    pub fn refill_was_full(&self) -> bool {
        self.fullest_refill.is_some_and(|fullest| fullest >= 1.0)
    }

    /// The newest stretch of time in which refill entries were consumed: the recent past, else the whole window. A
    /// queue that wasted all it had consumes nothing any more.
    pub fn consuming(&self) -> Option<Change> {
        [self.recent, self.whole].into_iter().find(|change| some(change.consumed))
    }

    /// The share of the refill entries consumed of late that gave no buffer back, 0 to 1.
    pub fn wasted_share(&self) -> Option<f64> {
        let change = self.consuming()?;
        Some(change.wasted()? as f64 / change.consumed? as f64)
    }

    /// Whether buffers are delivered in fragments, so that one refill entry returns less than a buffer. `None` where
    /// references are not counted.
    pub fn fragmented(&self) -> Option<bool> {
        self.most_fragments.map(|fragments| fragments > 1.05)
    }

    /// Refill entries consumed of late that did nothing at all: neither gave a buffer back nor, where that is known,
    /// dropped a reference.
    pub fn thrown_away(&self) -> Option<u64> {
        let change = self.consuming()?;
        let wasted = change.wasted()?;
        Some(change.rejected().map_or(wasted, |rejected| rejected.min(wasted)))
    }

    /// Whether refill entries are thrown away, though there are no fragments.
    pub fn entries_thrown_away(&self) -> bool {
        let consumed = self.consuming().and_then(|change| change.consumed);
        let share =
            self.thrown_away().zip(consumed).map(|(thrown, consumed)| thrown as f64 / consumed as f64);
        self.fragmented() == Some(false) && share.is_some_and(|share| share >= super::thresholds::WASTED)
    }
}

/// How full the kernel found the refill ring at most when it came for entries, 0 to 1.
fn fullest_when_asked(sample: &QueueSample) -> Option<f64> {
    let kernel = sample.kernel.as_ref()?;
    let entries = kernel.refill?.entries;
    (entries > 0).then_some(f64::from(kernel.allocation?.fullest.min(entries)) / f64::from(entries))
}
