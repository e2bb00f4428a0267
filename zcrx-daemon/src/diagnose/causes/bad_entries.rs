//! G: refill entries that the kernel throws away.

use super::missing;
use crate::diagnose::facts::Facts;
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::BadEntries,
    title: "Bad or double refill entries",
    signature: "more refill entries are consumed than buffers come of them, though no buffer is out in fragments",
    remedy: "return each completion once, with the offset that it came with and the area's token; the kernel consumes \
             what it cannot use silently and counts it nowhere",
    produced: Produced::Lab {
        how: "every second refill entry names no area, or comes twice (which only Linux 7.3 takes amiss)",
        scenarios: &["diagnosed-bad_entries", "diagnosed-bad_entries-double"],
        kernels: "7.2, 7.3",
    },
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    let consuming = facts.consuming().unwrap_or(facts.recent);
    let Some(wasted) = consuming.wasted() else {
        return if facts.starved() { Judgement::Untold(missing::ALLOCATIONS) } else { Judgement::Not };
    };
    if facts.fragmented().is_none() && facts.starved() && wasted > 0 {
        return Judgement::Untold(missing::REFERENCES);
    }
    if !facts.entries_thrown_away() {
        return Judgement::Not;
    }
    let share = facts.wasted_share().unwrap_or(0.0);
    let held = facts.placement.share(facts.placement.held).unwrap_or(0.0);
    let effect = if facts.starved() { share.max(held) } else { share };
    Case::new(Confidence::High, effect)
        .evidence(format!(
            "of {} refill entries consumed in {}, {wasted} ({:.0} %) gave no buffer back",
            consuming.consumed.unwrap_or(0),
            words::last(consuming.span),
            share * 100.0
        ))
        .evidence("no buffer is out in fragments: each entry should give one back".to_owned())
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_bad_offsets_come_first_and_not_a_leak() {
        let mut queue = Queue { bad_entries: 0.3, ..Queue::default() };
        let verdict = verdict(&queue.run(3));
        let finding = first(&verdict, Cause::BadEntries);
        assert!(finding.evidence[0].contains("gave no buffer back"), "{finding:?}");
    }

    #[test]
    fn synthetic_double_returns_come_first() {
        let mut queue = Queue { double_entries: 0.5, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        first(&verdict, Cause::BadEntries);
    }
}
