//! Whether refill entries did what they are for: gave a buffer back, or dropped a reference.

use super::{Change, Facts, some};
use crate::diagnose::thresholds::{CONSIDERABLE, WASTED};

/// Consumed entries of which a share says nothing yet.
const FEW: u64 = 64;
/// The share of the entries without effect whose references stay, at least, if they are bad.
const LEFT_BEHIND: f64 = 0.5;
/// Steps with entries without effect that tell bad ones from what the owner happens to hold more of.
const FEWEST_STEPS: u32 = 2;

impl Facts<'_> {
    /// The newest stretch of time in which refill entries were consumed: the recent past, else the whole window. A
    /// queue that wasted all it had consumes nothing any more.
    pub fn consuming(&self) -> Option<Change> {
        [self.recent, self.whole].into_iter().find(|change| some(change.consumed))
    }

    /// The share of the refill entries consumed recently that gave no buffer back, 0 to 1.
    pub fn wasted_share(&self) -> Option<f64> {
        let change = self.consuming()?;
        Some(change.wasted()? as f64 / change.consumed? as f64)
    }

    /// Whether buffers are delivered in fragments, so that one refill entry returns less than a buffer. `None` where
    /// references are not counted.
    pub fn fragmented(&self) -> Option<bool> {
        self.most_fragments.map(|fragments| fragments > 1.05)
    }

    /// Refill entries consumed in the window that did nothing at all, and how many were consumed: neither gave a buffer
    /// back nor dropped a reference. Judged by references where the ring's completions are zcrx's alone, else by the
    /// buffers that did not come back, as far as what is held grew by them.
    pub fn thrown_away(&self) -> Option<(u64, u64)> {
        let change = [self.recent, self.whole]
            .into_iter()
            .find(|change| change.consumed.is_some_and(|consumed| consumed >= FEW))?;
        let consumed = change.consumed?;
        let wasted = change.wasted();
        let rejected = change.rejected();
        let fragmented = self.fragmented()?;
        // More completions than entries that can have been right: some are of another kind, and hide bad entries.
        let others = change.posted.zip(change.references).is_some_and(|(posted, references)| {
            posted.cast_signed() - references > (consumed + consumed / 50 + 64).cast_signed()
        });
        let thrown = match (rejected, wasted) {
            // Buffers that come back with their packet only look bad.
            (Some(rejected), Some(wasted)) if !fragmented && wasted > rejected * 2 => {
                if others && self.entries_leave_references() { wasted } else { rejected }
            }
            (Some(rejected), Some(wasted)) => rejected.min(wasted),
            (Some(rejected), None) if change.copied_bytes.is_none() || !some(change.copied_bytes) => rejected,
            (None, Some(wasted)) if !fragmented && self.entries_leave_references() => wasted,
            _ => return None,
        };
        Some((thrown, consumed))
    }

    /// Whether entries that gave no buffer back left their references behind: then they are bad. Where they did not, their buffers
    /// came back with their packets. What the owner holds for a while does not count: only what it never held less of again. True where
    /// references are not counted. Only a queue that starved is judged by this: an owner that fills a cache looks the same.
    fn entries_leave_references(&self) -> bool {
        if !self.starved() {
            return false;
        }
        let steps = self.history.steps();
        let Some(mut least) = steps.back().and_then(|step| step.held) else { return true };
        let (mut wasteful, mut all_wasted, mut left) = (0_u32, 0, 0);
        // From the newest step back: what was held less later came back.
        for (earlier, step) in steps.iter().zip(steps.iter().skip(1)).rev() {
            let Some(held) = earlier.held else { break };
            if let Some((wasted, consumed)) = step.change.wasted().zip(step.change.consumed)
                && consumed >= FEW
                && wasted as f64 >= WASTED * consumed as f64
            {
                wasteful += 1;
                all_wasted += wasted;
                left += least.saturating_sub(held).min(2 * wasted);
            }
            least = least.min(held);
        }
        wasteful >= FEWEST_STEPS && left as f64 >= LEFT_BEHIND * all_wasted as f64
    }

    /// Whether entries may be thrown away where that cannot be counted: more of them gave no buffer back than the fragments of
    /// buffers explain.
    pub fn may_be_rejected(&self) -> bool {
        let fragments = self.most_fragments.unwrap_or(1.0);
        self.thrown_away().is_none()
            && self.wasted_share().is_some_and(|share| share > 1.0 - 1.0 / fragments + WASTED)
    }

    /// Whether refill entries are thrown away.
    pub fn entries_thrown_away(&self) -> bool {
        // Two samples disagree by what moved while each was read.
        let error = 2 * self.placement.error.unwrap_or(0);
        self.thrown_away().is_some_and(|(thrown, consumed)| {
            let considerable = thrown as f64 >= WASTED * consumed as f64 || self.thrown_are_lost(thrown);
            considerable && thrown >= 32 + error
        })
    }

    /// Whether so many entries that were thrown away took a considerable part of the area: few bad entries among many good ones
    /// can lose all buffers between two samples.
    fn thrown_are_lost(&self, thrown: u64) -> bool {
        let grown = self.whole.references.unwrap_or(0).max(0).unsigned_abs();
        self.placement.share(Some(thrown)) >= Some(CONSIDERABLE) && grown * 2 >= thrown
    }
}
