//! D: the refill ring has no room for what the owner returns.

use super::missing;
use crate::diagnose::facts::{Facts, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::step::Step;
use crate::diagnose::symptoms::Activity;
use crate::diagnose::thresholds::{CONSIDERABLE, LASTING, NEGLIGIBLE, RECENT, WASTED};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::RefillRingFull,
    letter: Some('D'),
    title: "Refill ring full, returns stashed or dropped",
    signature: "tail - head of the refill ring reaches its size; what the owner could not publish is stashed, or, where \
                it drops it, held for ever",
    remedy: "rq_entries at least the most completions that are ever outstanding; keep what does not fit in a stash and \
             publish it later, never drop it; IORING_REGISTER_ZCRX_CTRL with FLUSH_RQ when the ring is full (Linux 6.19)",
    run: &["cat /proc/{pid}/stack"],
    produced: Produced::Lab {
        how: "the application drops returns that do not fit into a refill ring of 8 entries; zcrxd's queue flushes a full ring",
        kernels: "7.2, 7.3",
    },
    late: Some(
        "on a foreign queue, dropped buffers look like held ones until they have been missing for four seconds; until then zcrxd names `slow_consumer`",
    ),
    alarm: Some(alarm),
    needs: &["snapshot"],
    by_placement: true,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    let placement = &facts.placement;
    let Some(entries) = placement.refill_entries else { return Judgement::Unknown(missing::HELD) };
    match placement.stashed {
        Some(stashed) => judge_own(facts, entries, stashed),
        None => judge_foreign(facts, entries),
    }
}

/// A queue of our own says what it stashed.
fn judge_own(facts: &Facts<'_>, entries: u64, stashed: u64) -> Judgement {
    let share = facts.placement.share(Some(stashed)).unwrap_or(0.0);
    if !facts.starved() && share < CONSIDERABLE || share < NEGLIGIBLE {
        return Judgement::Not;
    }
    Case::new(Confidence::High, share)
        .evidence(format!(
            "{} are returned and find no room in the refill ring",
            words::buffers(facts, stashed)
        ))
        .evidence(size(facts, entries))
        .fits()
}

/// A foreign queue shows its ring full, and what seems to be held from then on.
fn judge_foreign(facts: &Facts<'_>, entries: u64) -> Judgement {
    let placement = &facts.placement;
    let leak = facts.leak();
    let filled = facts.refill_was_full() || leak.is_some_and(|leak| leak.refill_full);
    if !filled || !(facts.starved() || leak.is_some()) {
        return Judgement::Not;
    }
    let Some(held) = placement.held else { return Judgement::Unknown(missing::HELD) };
    // With nothing coming back any more, all that is held was dropped; before that, what the least held gained.
    let ended = !facts.returning() && facts.cq_shallow() == Some(true);
    let grown = leak.map_or(0, |leak| (leak.lost as f64 / placement.fragments.unwrap_or(1.0)) as u64);
    // A ring with room again shows that the owner publishes nothing later of what did not fit.
    let has_room = placement.refill_depth.is_some_and(|depth| depth * 2 < entries);
    let throughout =
        facts.held_throughout().filter(|_| has_room).map_or(0, |held| held.saturating_sub(entries));
    let lost = if ended { held } else { held.min(throughout.max(grown)) };
    let share = placement.share(Some(lost)).unwrap_or(0.0);
    Case::new(Confidence::High, share)
        .evidence(size(facts, entries))
        .evidence(format!("since then {} seem held and do not come back", words::buffers(facts, lost)))
        .doubt_if(
            facts.fragmented() == Some(true) && facts.wasted_share().is_some_and(|share| share >= WASTED),
            || {
                "entries are consumed and give no buffer back: the ring may be full because of that"
                    .to_owned()
            },
        )
        .doubt_if(facts.entries_thrown_away(), || {
            "refill entries are consumed without giving a buffer back: it returns, but wrongly".to_owned()
        })
        .doubt_if(!ended && facts.returning() && leak.is_none() && throughout == 0, || {
            "what is held does not grow: the owner may stash what does not fit".to_owned()
        })
        .fits()
}

/// The local receive path says what it could not return.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    facts.placement.stashed?;
    let stashes = |step: &Step| {
        some(step.change.bytes)
            && step.placement.share(step.placement.stashed).is_some_and(|share| share >= CONSIDERABLE)
    };
    let seen = Activity::within(facts, RECENT, stashes)?;
    let stashed = facts.placement.stashed?;
    seen.lasted(LASTING).then(|| {
        let words =
            format!("{} are returned and find no room in the refill ring", words::buffers(facts, stashed));
        seen.alarm(Trouble::RefillOverflow, words)
    })
}

fn size(facts: &Facts<'_>, entries: u64) -> String {
    format!(
        "the refill ring of {entries} entries was seen {:.0} % full",
        facts.fullest_refill().unwrap_or(0.0) * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Overflow, Queue, first, verdict};

    #[test]
    fn a_synthetic_program_that_drops_what_does_not_fit_is_told_from_one_that_never_returns() {
        let mut queue = Queue {
            refill_entries: 64,
            arrivals_per_second: 2_000.0,
            bursts: Some(300),
            return_batch: 200,
            overflow: Overflow::Drop,
            ..Queue::default()
        };
        let verdict = verdict(&queue.run(20));
        first(&verdict, Cause::RefillRingFull);
    }

    #[test]
    fn a_full_ring_of_an_idle_synthetic_queue_is_no_trouble() {
        let mut queue =
            Queue { refill_entries: 64, arrivals_per_second: 500.0, bursts: Some(499), ..Queue::default() };
        queue.run(1);
        queue.arrivals_per_second = 0.0;
        let window = queue.run(10);
        assert!(Facts::of(&window).is_some_and(|facts| facts.refill_was_full()));
        let verdict = verdict(&window);
        assert!(verdict.causes.is_empty() && verdict.alarms.is_empty(), "{verdict:?}");
    }
}
