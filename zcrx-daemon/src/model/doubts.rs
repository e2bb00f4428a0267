//! Figures of queues that cannot be true: which they are, and what zcrxd does without them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{CheckedFigure, KernelQueue, KernelSnapshot};

/// How long one queue has to break a rule, in snapshots and in time, until zcrxd does without the figure. A queue that is torn down
/// while it is read may break a rule once, and many scrapes may come within a moment.
const TIMES: u32 = 3;
const LASTING: Duration = Duration::from_millis(1500);

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
    /// Whether a figure is hidden in the first snapshot in which it breaks a rule, or once that has lasted.
    hides_at_once: bool,
    /// Rules that queues break, by queue and figure.
    runs: BTreeMap<(u64, &'static str), Run>,
    /// Figures that zcrxd does without.
    off: BTreeMap<&'static str, CheckedFigure>,
    /// Figures that were hidden in the last snapshot.
    hidden: BTreeMap<&'static str, CheckedFigure>,
}

/// Snapshots in a row in which a queue broke a rule.
#[derive(Clone, Copy, Debug)]
struct Run {
    times: u32,
    /// When the first one was taken.
    since: Duration,
}

impl Doubts {
    /// Doubts by rules about a snapshot alone: a figure that breaks one is hidden at once.
    pub const fn immediate() -> Self {
        Self::new(true)
    }

    /// Doubts by rules that compare a snapshot with what was read at another moment: one difference means nothing.
    pub const fn patient() -> Self {
        Self::new(false)
    }

    const fn new(hides_at_once: bool) -> Self {
        Self { hides_at_once, runs: BTreeMap::new(), off: BTreeMap::new(), hidden: BTreeMap::new() }
    }

    /// Tries rules on each queue, and takes figures that break one out of the snapshot, or the queue where nothing is left that
    /// identifies it. Returns the figures that no snapshot shows from now on.
    pub fn apply(
        &mut self,
        snapshot: &mut KernelSnapshot,
        mut rules: impl FnMut(&KernelQueue) -> Vec<BrokenRule>,
    ) -> Vec<&'static str> {
        let before = std::mem::take(&mut self.runs);
        let (now, shown) = (snapshot.began, snapshot.queues.len());
        let mut new = Vec::new();
        self.hidden.clear();
        snapshot.queues.retain_mut(|queue| {
            for figure in self.off.keys() {
                hide(queue, figure);
            }
            let mut is_usable = true;
            for rule in rules(queue) {
                let key = (queue.ifq, rule.figure);
                let earlier = before.get(&key).copied().unwrap_or(Run { times: 0, since: now });
                let run = Run { times: earlier.times + 1, ..earlier };
                self.runs.insert(key, run);
                let lasts = run.times >= TIMES && now.saturating_sub(run.since) >= LASTING;
                if !(self.hides_at_once || lasts) {
                    continue;
                }
                is_usable &= hide(queue, rule.figure);
                let (name, figure) = (rule.figure, CheckedFigure::from(rule));
                if lasts && !self.off.contains_key(name) {
                    tracing::warn!(
                        "{figure} for {LASTING:?} and longer; this figure is switched off. Report this with the output of `zcrxd check`"
                    );
                    self.off.insert(name, figure.clone());
                    new.push(name);
                }
                self.hidden.insert(name, figure);
            }
            is_usable
        });
        if snapshot.queues.len() < shown {
            let hidden = shown - snapshot.queues.len();
            snapshot.incomplete.push(format!("{hidden} queues are not shown: they were read wrongly"));
        }
        new
    }

    /// Figures that are not shown, with what they were read as.
    pub fn wrong(&self) -> impl Iterator<Item = &CheckedFigure> {
        let hidden = self.hidden.iter().filter(|(name, _)| !self.off.contains_key(*name));
        self.off.values().chain(hidden.map(|(_, figure)| figure))
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
        "pool.id" | "pool.inflight" => queue.pool = None,
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

    /// Snapshots of one queue, one second apart.
    fn snapshots() -> impl Iterator<Item = KernelSnapshot> {
        (0..).map(|second| snapshot(second * 1000))
    }

    fn snapshot(milliseconds: u64) -> KernelSnapshot {
        KernelSnapshot {
            began: Duration::from_millis(milliseconds),
            queues: vec![Arc::new(KernelQueue::example())],
            ..KernelSnapshot::default()
        }
    }

    fn breaking(figure: &'static str) -> impl Fn(&KernelQueue) -> Vec<BrokenRule> {
        move |_| vec![BrokenRule { figure, rule: "above 3".to_owned(), shown: "2".to_owned() }]
    }

    #[test]
    fn figure_is_hidden_at_once_and_switched_off_when_that_lasts() {
        let mut doubts = Doubts::immediate();
        let mut snapshots = snapshots();
        for breaks in [true, true, false, true, true] {
            let mut taken = snapshots.next().expect("endless");
            let rules =
                |queue: &KernelQueue| if breaks { breaking("buffer_bytes")(queue) } else { Vec::new() };
            assert!(
                doubts.apply(&mut taken, rules).is_empty(),
                "a queue that is torn down may be read wrongly"
            );
            assert_eq!(taken.queues[0].buffer_bytes.is_none(), breaks);
            assert_eq!(doubts.wrong().count(), usize::from(breaks));
        }
        let mut taken = snapshots.next().expect("endless");
        assert_eq!(doubts.apply(&mut taken, breaking("buffer_bytes")), ["buffer_bytes"]);
        let mut later = snapshots.next().expect("endless");
        assert!(doubts.apply(&mut later, |_| Vec::new()).is_empty());
        assert_eq!(later.queues[0].buffer_bytes, None);
        assert_eq!(later.incomplete, Vec::<String>::new(), "no queue is missing");
        let wrong: Vec<_> = doubts.wrong().map(ToString::to_string).collect();
        assert_eq!(wrong, ["buffer_bytes is above 3 and was read as 2"]);
    }

    #[test]
    fn many_snapshots_of_one_moment_and_single_faults_of_many_queues_switch_nothing_off() {
        let mut doubts = Doubts::immediate();
        for _ in 0..100 {
            assert!(doubts.apply(&mut snapshot(5), breaking("buffer_bytes")).is_empty());
        }
        let mut doubts = Doubts::immediate();
        for (ifq, mut taken) in (1..100).zip(snapshots()) {
            Arc::make_mut(&mut taken.queues[0]).ifq = ifq;
            assert!(doubts.apply(&mut taken, breaking("buffer_bytes")).is_empty());
        }
    }

    #[test]
    fn difference_between_two_moments_means_nothing_until_it_lasts() {
        let mut doubts = Doubts::patient();
        let mut snapshots = snapshots();
        for (times, mut taken) in (1..=4).zip(&mut snapshots) {
            doubts.apply(&mut taken, breaking("place"));
            assert_eq!(taken.queues.is_empty(), times >= 3, "{times}");
            assert_eq!(taken.incomplete.is_empty(), times < 3, "{times}");
        }
        let mut right = snapshots.next().expect("endless");
        doubts.apply(&mut right, |_| Vec::new());
        assert_eq!(right.queues.len(), 1, "a queue that is read right is shown");
    }
}
