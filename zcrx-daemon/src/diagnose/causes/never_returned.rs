//! E: the owner does not return buffers.

use super::missing;
use crate::diagnose::facts::{Facts, none};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, LEAK_GROWTH, MOST, TREND};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::NeverReturned,
    title: "Never returned (leak)",
    signature: "the refill ring is empty, the completion queue is empty, what the owner holds only rises, and the oldest \
                is held ever longer",
    remedy: "a bug of the application: find the path that drops a buffer without a refill entry (error paths, closed \
             connections); a restart gives everything back",
    produced: Produced::Lab { how: "the application returns nothing", kernels: "7.2, 7.3" },
    late: None,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    let placement = &facts.placement;
    let Some(held) = placement.held else { return Judgement::Untold(missing::HELD) };
    let Some(share) = placement.share(Some(held)) else { return Judgement::Untold(missing::AREA) };
    // An owner that leaves completions unread is slow; whether it would return what it holds is not seen.
    if share < CONSIDERABLE || facts.cq_shallow() == Some(false) || facts.owner_stopped_reading() {
        return Judgement::Not;
    }
    let nothing_returns = !facts.returning() && !facts.returns_in_bursts() && facts.latest.returned.is_some();
    let for_long = facts.returns_ended();
    let grew = facts.held_floor.filter(|floor| {
        floor.rises()
            && floor.span >= TREND
            && placement.share(Some(floor.growth())).is_some_and(|growth| growth >= LEAK_GROWTH)
    });
    let idle = none(facts.recent.bytes) && for_long;
    let confidence = match (facts.starved(), share >= MOST) {
        (true, true) if for_long => Confidence::High,
        (true, true) if nothing_returns => Confidence::Medium,
        (false, true) if idle => Confidence::Medium,
        _ if grew.is_some() => Confidence::Medium,
        (true, false) if for_long => Confidence::Low,
        _ => return Judgement::Not,
    };
    Case::new(confidence, share)
        .evidence(format!("the owner holds {} and leaves no completion unread", words::buffers(facts, held)))
        .evidence_if(nothing_returns.then(|| {
            format!(
                "it returned nothing in {}",
                words::last(if for_long { facts.recent.span } else { facts.latest.span })
            )
        }))
        .evidence_if(grew.map(|floor| {
            format!(
                "the least it held grew from {} to {} buffers in {}",
                floor.least[0],
                floor.now(),
                words::time(floor.span)
            )
        }))
        .evidence_if(facts.now.oldest_held.map(|age| format!("the oldest is held for {}", words::time(age))))
        .doubt_if(facts.now.local.is_some(), || {
            "zcrxd's own receive path accounts for each buffer until its sink is done with it".to_owned()
        })
        .doubt_if(facts.refill_was_full(), || {
            "the refill ring was full: returns may have been dropped for want of room".to_owned()
        })
        .doubt_if(facts.entries_thrown_away(), || {
            "refill entries are consumed without giving a buffer back: it returns, but wrongly".to_owned()
        })
        .doubt_if(!nothing_returns && facts.starved(), || {
            "buffers still come back: it may only be slow".to_owned()
        })
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_program_that_never_returns_comes_first() {
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        let finding = first(&verdict, Cause::NeverReturned);
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
        assert!(finding.evidence[1].starts_with("it returned nothing in the last"), "{finding:?}");
    }

    #[test]
    fn a_synthetic_slow_leak_is_seen_before_the_queue_starves() {
        let mut queue = Queue { leak: 0.004, buffers: 4096, ..Queue::default() };
        let window = queue.run(40);
        let verdict = verdict(&window);
        let finding = first(&verdict, Cause::NeverReturned);
        assert_eq!(finding.confidence, Confidence::Medium, "{finding:?}");
        assert!(!verdict.alarms.is_empty(), "{verdict:?}");
    }

    #[test]
    fn a_synthetic_slow_consumer_is_not_called_a_leak() {
        let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
        let verdict = verdict(&queue.run(30));
        assert!(verdict.causes.iter().all(|finding| finding.cause != Cause::NeverReturned), "{verdict:?}");
    }
}
