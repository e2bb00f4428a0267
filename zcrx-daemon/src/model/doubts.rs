//! Figures of queues that cannot be true: which they are, and what zcrxd does without them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CheckedFigure, KernelQueue, KernelSnapshot};

/// Snapshots in a row in which a figure breaks its rule until zcrxd does without it. A queue that is torn down while it is read may
/// break a rule once.
pub const PATIENCE: u32 = 3;

/// A rule that a queue breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRule {
    /// The figure, as the self-check names it.
    pub figure: &'static str,
    /// What it has to be.
    pub rule: String,
    /// What it was read as.
    pub shown: String,
}

impl From<BrokenRule> for CheckedFigure {
    fn from(broken: BrokenRule) -> Self {
        Self { name: broken.figure.to_owned(), expected: broken.rule, shown: Some(broken.shown) }
    }
}

/// Figures that broke a rule, and what followed from it.
#[derive(Debug)]
pub struct Doubts {
    /// Snapshots in a row in which a figure breaks its rule until zcrxd hides it.
    hides_after: u32,
    /// Snapshots in a row, by figure.
    in_a_row: BTreeMap<&'static str, u32>,
    /// Figures that zcrxd does without.
    off: BTreeMap<&'static str, CheckedFigure>,
}

impl Doubts {
    /// Doubts by rules about a snapshot alone: a figure that breaks one is hidden at once.
    pub const fn immediate() -> Self {
        Self { hides_after: 1, in_a_row: BTreeMap::new(), off: BTreeMap::new() }
    }

    /// Doubts by rules that compare a snapshot with what was read at another moment: one difference means nothing.
    pub const fn patient() -> Self {
        Self { hides_after: PATIENCE, in_a_row: BTreeMap::new(), off: BTreeMap::new() }
    }

    /// Tries rules on each queue. Figures that break one are taken out of the snapshot, those that are switched off always. A queue whose
    /// identity is wrong is not shown. Returns the figures that are switched off from now on.
    pub fn apply(
        &mut self,
        snapshot: &mut KernelSnapshot,
        mut rules: impl FnMut(&KernelQueue) -> Vec<BrokenRule>,
    ) -> Vec<&'static str> {
        let mut broken: BTreeMap<&'static str, CheckedFigure> = BTreeMap::new();
        let mut spoiled = 0;
        snapshot.queues.retain_mut(|queue| {
            for figure in self.off.keys() {
                hide(queue, figure);
            }
            let found = rules(queue);
            let in_a_row = |figure| self.in_a_row.get(figure).map_or(1, |times| times + 1);
            let hidden = found.iter().filter(|rule| in_a_row(rule.figure) >= self.hides_after);
            // Each one is hidden, also behind one that spoils the queue.
            let spoiling = hidden.filter(|rule| !hide(queue, rule.figure)).count();
            spoiled += usize::from(spoiling > 0);
            broken.extend(found.into_iter().map(|rule| (rule.figure, rule.into())));
            spoiling == 0
        });
        if spoiled > 0 {
            snapshot
                .incomplete
                .push(format!("{spoiled} queues are not shown: what identifies them was read wrongly"));
        }
        let off = self.off.keys().map(|figure| format!("{figure} is switched off: it was read wrongly"));
        snapshot.incomplete.extend(off);
        self.in_a_row.retain(|figure, _| broken.contains_key(figure));
        let mut new = Vec::new();
        for (name, figure) in broken {
            let times = self.in_a_row.entry(name).or_default();
            *times += 1;
            if *times >= self.hides_after {
                snapshot.incomplete.push(format!("{figure}, and is not shown"));
            }
            if *times < PATIENCE || self.off.contains_key(name) {
                continue;
            }
            tracing::warn!(
                "{figure} in {PATIENCE} snapshots in a row; this figure is switched off. Report this with `zcrxd check` and the kernel's release"
            );
            self.off.insert(name, figure);
            new.push(name);
        }
        new
    }

    /// Figures that zcrxd does without.
    pub fn switched_off(&self) -> impl Iterator<Item = &CheckedFigure> {
        self.off.values()
    }
}

/// Takes a figure out of a queue's sample, with all that is read together with it; says whether the rest is of use without it.
fn hide(queue: &mut Arc<KernelQueue>, figure: &str) -> bool {
    let queue = Arc::make_mut(queue);
    match figure {
        "refill.entries" => (queue.refill, queue.moved) = (None, None),
        "areas.user_buffers" | "areas.user_references" => {
            for area in &mut queue.areas {
                (area.user_buffers, area.user_references, area.user_buffers_error) = (None, None, None);
            }
        }
        "buffer_bytes" => queue.buffer_bytes = None,
        "pool.id" | "pool.inflight" | "pool.missing" => queue.pool = None,
        "pool.kept" => {
            if let Some(pool) = &mut queue.pool {
                (pool.cache, pool.ring) = (None, None);
            }
        }
        "napi_id" => queue.napi_id = None,
        "interface" => queue.interface = None,
        "netns" => queue.netns = None,
        "cq.entries" => {
            queue.cq = None;
            queue.rings.iter_mut().for_each(|ring| ring.cq = None);
        }
        "consumer.tid" => queue.rings.iter_mut().for_each(|ring| ring.consumer = None),
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CqState;

    fn snapshot() -> KernelSnapshot {
        KernelSnapshot { queues: vec![Arc::new(KernelQueue::example())], ..KernelSnapshot::default() }
    }

    fn breaking(figure: &'static str) -> impl Fn(&KernelQueue) -> Vec<BrokenRule> {
        move |_| vec![BrokenRule { figure, rule: "above 3".to_owned(), shown: "2".to_owned() }]
    }

    #[test]
    fn figure_is_hidden_at_once_and_switched_off_after_three_snapshots_in_a_row() {
        let mut doubts = Doubts::immediate();
        for rule in [true, true, false, true, true] {
            let mut taken = snapshot();
            let rules = |queue: &KernelQueue| if rule { breaking("buffer_bytes")(queue) } else { Vec::new() };
            assert!(
                doubts.apply(&mut taken, rules).is_empty(),
                "a queue that is torn down may be read wrongly"
            );
            assert_eq!(taken.queues[0].buffer_bytes.is_none(), rule);
            assert_eq!(taken.incomplete.len(), usize::from(rule));
        }
        assert_eq!(doubts.apply(&mut snapshot(), breaking("buffer_bytes")), ["buffer_bytes"]);
        let mut later = snapshot();
        assert!(doubts.apply(&mut later, |_| Vec::new()).is_empty());
        assert_eq!(later.queues[0].buffer_bytes, None);
        assert_eq!(later.incomplete, ["buffer_bytes is switched off: it was read wrongly"]);
        assert_eq!(doubts.switched_off().filter(|figure| figure.is_right() == Some(false)).count(), 1);
    }

    #[test]
    fn difference_between_two_moments_means_nothing_until_it_lasts() {
        let mut doubts = Doubts::patient();
        for times in 1..=4 {
            let mut taken = snapshot();
            doubts.apply(&mut taken, breaking("queue"));
            assert_eq!(taken.queues.is_empty(), times >= 3, "{times}");
        }
        let mut right = snapshot();
        doubts.apply(&mut right, |_| Vec::new());
        assert_eq!(right.queues.len(), 1, "a queue that is read right is shown");
    }

    #[test]
    fn queue_whose_identity_is_wrong_is_not_shown_and_others_are() {
        let mut taken = snapshot();
        let other = KernelQueue { queue: Some(99), cq: Some(CqState::default()), ..KernelQueue::default() };
        taken.queues.push(Arc::new(other));
        let rules =
            |queue: &KernelQueue| if queue.queue == Some(99) { Vec::new() } else { breaking("queue")(queue) };
        Doubts::immediate().apply(&mut taken, rules);
        let shown: Vec<_> = taken.queues.iter().map(|queue| queue.queue).collect();
        assert_eq!(shown, [Some(99)]);
        assert_eq!(taken.incomplete.len(), 2, "{:?}", taken.incomplete);
    }
}
