//! Whether refill entries did what they are for: gave a buffer back, or dropped a reference.

use super::{Change, Facts, some};
use crate::diagnose::thresholds::{CONSIDERABLE, FRAGMENTED, MOST, WASTED};

/// Consumed entries of which a share says nothing yet.
const FEW: u64 = 64;
/// Consumed entries of which a considerable share shows.
const ENOUGH: u64 = 1_280;
/// The share of the entries without effect whose references stay, at least, if they are bad.
const LEFT_BEHIND: f64 = 0.5;
/// How far the references left behind in each step may be from that step's bad entries, in all, as a share of the bad entries.
const APART: f64 = 0.85;
/// Fewest steps with entries without effect that distinguish bad entries from what the owner happens to hold more of.
const FEWEST_STEPS: u32 = 2;

/// Entries consumed, and those of them that gave no buffer back.
#[derive(Clone, Copy, Debug, Default)]
struct Waste {
    steps: u32,
    consumed: f64,
    wasted: f64,
}

impl Waste {
    /// Of a step in which enough entries were consumed for a share of them to mean something.
    fn of(change: &Change) -> Option<Self> {
        let (wasted, consumed) = change.wasted().zip(change.consumed.filter(|&consumed| consumed >= FEW))?;
        Some(Self { steps: 1, consumed: consumed as f64, wasted: wasted as f64 })
    }

    fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.consumed += other.consumed;
        self.wasted += other.wasted;
    }

    fn share(&self) -> f64 {
        self.wasted / self.consumed.max(1.0)
    }
}

/// References that stayed with the owner for good, and the entries without effect before that and meanwhile.
#[derive(Debug, Default)]
struct LeftBehind {
    references: f64,
    before: Waste,
    /// Of each step, with the references that stay since.
    meanwhile: Vec<(Waste, f64)>,
}

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
        self.most_fragments().map(|fragments| fragments > FRAGMENTED)
    }

    /// Refill entries consumed in the window that did nothing at all, and how many were consumed: neither gave a buffer
    /// back nor dropped a reference. Judged by references where the ring's completions are zcrx's alone, else by the
    /// buffers that did not come back, as far as what is held grew by them.
    pub fn thrown_away(&self) -> Option<(u64, u64)> {
        let enough =
            |few: u64| move |change: &&Change| change.consumed.is_some_and(|consumed| consumed >= few);
        let [recent, whole] = [&self.recent, &self.whole];
        // A queue that lost almost all of its buffers consumes too few entries for its newest ones to say anything.
        let change = if self.starved() && self.placement.share(self.placement.held) >= Some(MOST) {
            Some(recent).filter(enough(ENOUGH)).or(Some(whole).filter(enough(FEW)))
        } else {
            [recent, whole].into_iter().find(enough(FEW))
        };
        self.thrown_in(change?)
    }

    fn thrown_in(&self, change: &Change) -> Option<(u64, u64)> {
        let consumed = change.consumed?;
        let wasted = change.wasted();
        let confirmed =
            |rejected: u64| self.rejected_before().map_or(rejected, |before| rejected.min(before));
        let rejected = change.rejected().map(|rejected| if rejected == 0 { 0 } else { confirmed(rejected) });
        let fragmented = self.fragmented()?;
        // More completions than entries that can have been right: some are of another kind, and hide bad entries.
        let others = change.posted.zip(change.references).is_some_and(|(posted, references)| {
            let entries = change.fetched.unwrap_or(consumed);
            posted.cast_signed() - references > (entries + entries / 50 + 64).cast_signed()
        });
        let beyond = |wasted: u64, usual: f64| wasted.saturating_sub((usual * consumed as f64) as u64);
        let thrown = match (rejected, wasted) {
            // Buffers that come back with their packet only look bad.
            (Some(rejected), Some(wasted)) if !fragmented && wasted > rejected * 2 => {
                let usual = self.usual_waste_beside_bad().filter(|_| others);
                usual.map_or(rejected, |usual| beyond(wasted, usual))
            }
            (Some(rejected), Some(wasted)) => rejected.min(wasted),
            (Some(rejected), None) if change.copied_bytes.is_none() || !some(change.copied_bytes) => rejected,
            (None, Some(wasted)) => {
                // Where fragments are usual but no time without bad entries was seen, nothing distinguishes them.
                let usual = self.usual_waste_beside_bad().filter(|&usual| usual > 0.0 || !fragmented)?;
                beyond(wasted, usual)
            }
            _ => return None,
        };
        Some((thrown, consumed))
    }

    /// Entries rejected in the window up to the sample before. A sample reads completions first and references later: what is posted
    /// in between, at most an area full, looks rejected in that sample alone.
    fn rejected_before(&self) -> Option<u64> {
        let before = self.history.samples().rev().nth(1)?;
        Change::between(self.oldest, before).rejected()
    }

    /// What never came back in the window, and the entries without effect before that and meanwhile. `None` where what is held is
    /// unknown.
    fn left_behind(&self) -> Option<LeftBehind> {
        let steps = self.history.steps();
        let mut least = steps.back()?.held?;
        // The least held from each step on, the newest step first: what was held less later came back.
        let mut floors = Vec::with_capacity(steps.len());
        for step in steps.iter().rev() {
            let Some(held) = step.held else { break };
            least = least.min(held);
            floors.push((least, step));
        }
        let (lowest, highest) = (floors.last()?.0, floors.first()?.0);
        let risen = lowest + (highest - lowest) / 10;
        let mut found = LeftBehind { references: (highest - lowest) as f64, ..LeftBehind::default() };
        for pair in floors.windows(2) {
            let [(floor, step), (earlier, _)] = pair else { break };
            let Some(waste) = Waste::of(&step.change) else { continue };
            if *floor > risen {
                found.meanwhile.push((waste, (floor - earlier) as f64));
            } else {
                found.before.add(waste);
            }
        }
        Some(found)
    }

    /// The share of entries without effect that is usual for this queue, 0 to 1, if those beyond it left their references behind: then
    /// these are bad. Where they did not, their buffers came back with their packets. What the owner holds for a while does not count:
    /// only what it never held less of again. Only a queue that starved is judged by this: an owner that fills a cache looks the same.
    fn usual_waste_beside_bad(&self) -> Option<f64> {
        if !self.starved() {
            return None;
        }
        let Some(LeftBehind { references: left, before, meanwhile }) = self.left_behind() else {
            return Some(0.0);
        };
        let known = before.steps >= FEWEST_STEPS;
        let usual = if known { before.share() } else { 0.0 };
        let excess = |waste: &Waste| waste.wasted - usual * waste.consumed;
        let wasteful = meanwhile.iter().filter(|(waste, _)| excess(waste) >= WASTED * waste.consumed).count();
        let bad = meanwhile.iter().map(|(waste, _)| excess(waste)).sum::<f64>();
        // Each bad entry leaves its reference behind in the step that consumes it; what an owner piles up rises on its own.
        let fragments = self.most_fragments().unwrap_or(1.0);
        let apart = meanwhile.iter().map(|(waste, rise)| {
            let excess = excess(waste).max(0.0);
            (rise - excess * fragments).max(excess - rise).max(0.0)
        });
        let together = apart.sum::<f64>() <= APART * bad;
        // A bad entry leaves one reference of a buffer, or all.
        let explains = bad * fragments >= LEFT_BEHIND * left;
        let enough = if known { 1 } else { FEWEST_STEPS as usize };
        (wasteful >= enough && left >= LEFT_BEHIND * bad && explains && together).then_some(usual)
    }

    /// Whether entries may be thrown away where that cannot be counted: more of them gave no buffer back than the fragments of
    /// buffers explain.
    pub fn may_be_rejected(&self) -> bool {
        let fragments = self.most_fragments().unwrap_or(1.0);
        // Entries that were consumed before anything was left behind did no harm.
        let explain = self.left_behind().is_none_or(|found| {
            let wasted = found.meanwhile.iter().map(|(waste, _)| waste.wasted).sum::<f64>();
            wasted * fragments >= LEFT_BEHIND * found.references
        });
        explain
            && self.thrown_away().is_none()
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

    /// Whether the entries that were thrown away in the window explain most of what the owner seems to hold since.
    pub fn thrown_explain_held(&self) -> bool {
        let grown = self.whole.references.unwrap_or(0).max(0).unsigned_abs();
        self.thrown_in(&self.whole).is_some_and(|(thrown, _)| {
            thrown as f64 * self.most_fragments().unwrap_or(1.0) * 2.0 >= grown as f64
        })
    }
}
