//! E: the owner does not return buffers.

use std::time::Duration;

use super::missing;
use crate::diagnose::facts::{Facts, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, LEAK_SPAN, LEAKED, MOST, PAUSE};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, QueueSample, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::NeverReturned,
    letter: Some('E'),
    title: "Never returned (leak)",
    signature: "the refill ring is empty, the completion queue is empty, and the least that the owner holds only rises; \
                nothing of it comes back",
    remedy: "a bug of the application: find the path that drops a buffer without a refill entry (error paths, closed \
             connections); a restart gives everything back",
    run: &["cat /proc/{pid}/stack", "ss -tmi 'sport = :{port}'"],
    produced: Produced::Lab { how: "the application returns nothing", kernels: "7.2, 7.3" },
    late: None,
    alarm: Some(alarm),
    needs: &["snapshot"],
    by_placement: true,
    judge,
};

/// Without a return for this long, an owner does not work on what it holds but has lost it.
const LONGER_THAN_WORK: Duration = Duration::from_secs(5);

/// The share of the area that is lost to a leak, as far as that is known: what was seen to go while the rest came back, or
/// all that is held once nothing comes back.
pub(super) fn lost_share(facts: &Facts<'_>) -> f64 {
    if facts.now.local.is_some() {
        return 0.0;
    }
    let fragments = facts.placement.fragments.unwrap_or(1.0);
    let lost = facts.leak().map(|leak| leak.lost).max(facts.fast_leak());
    let shown = lost.map(|lost| (lost as f64 / fragments) as u64);
    // It goes on while allocations fail: what was held all the time since is lost too.
    let throughout = facts.held_throughout().filter(|_| shown.is_some() && !facts.leaves_completions());
    let dead = importer_died(facts).map(|(_, lost)| lost);
    facts.placement.share(throughout.max(shown).max(dead)).unwrap_or(0.0)
}

/// Raised before allocations fail, with the rate of the leak: leaked buffers are gone, and the user still has time to act.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    if facts.now.local.is_some() {
        return None;
    }
    let leak = facts.leak()?;
    let share = facts.placement.share(Some(leak.lost)).unwrap_or(0.0);
    let slow = facts.history.floors().slow().is_some();
    if !slow && (share < MOST || leak.span < LEAK_SPAN) {
        return None;
    }
    let trouble = if leak.refill_full { Trouble::RefillOverflow } else { Trouble::Leaking };
    let left = facts.history.steps().back()?.available;
    let full =
        left.and_then(|left| Duration::try_from_secs_f64(left as f64 / leak.per_second.max(1e-9)).ok());
    let words = format!(
        "{} never came back, and {} more are lost{}",
        words::buffers(facts, leak.lost),
        words::rate(leak.per_second),
        full.filter(|_| !facts.starved())
            .map_or_else(String::new, |time| format!(": none is left in {}", words::time(time)))
    );
    let since = facts.now.at.saturating_sub(leak.span);
    Some(Alarm { trouble, since, last: facts.now.at, words })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let placement = &facts.placement;
    let Some(held) = placement.held else { return Judgement::Unknown(missing::HELD) };
    let Some(typical) = facts.typical().held else { return Judgement::Unknown(missing::AREA) };
    // What is not held now did come back.
    let share = typical.min(placement.share(Some(held)).unwrap_or(typical));
    let leak = facts.leak().filter(|_| facts.now.local.is_none());
    let shown = lost_share(facts);
    let dead = importer_died(facts);
    // An owner that leaves completions unread is slow; whether it would return what it holds is not seen.
    let unread = facts.leaves_completions();
    if (share < CONSIDERABLE && shown < LEAKED || unread) && dead.is_none() {
        return Judgement::Not;
    }
    let never = facts.history.returns().total == 0 && facts.recent.returned.is_some();
    // A pause holds all that arrives; an owner that kept some of it beside its returns has lost that.
    let piled_up = facts.piled_up_beside_returns();
    let pausing = facts.may_be_pausing() && !piled_up;
    let ended = facts.returns_ended() && !pausing;
    let for_long = facts.without_return() >= PAUSE;
    let (confidence, lost) = if dead.is_some() {
        (Confidence::High, shown)
    } else if facts.starved() && ended && share >= MOST {
        let quiet = facts.without_return();
        let sure = for_long
            || piled_up
            || leak.is_some()
            || quiet >= LONGER_THAN_WORK
            || never && quiet >= LONGER_THAN_WORK / 2;
        (if sure { Confidence::High } else { Confidence::Medium }, share)
    } else if (leak.is_some() || facts.fast_leak().is_some()) && shown > 0.0 {
        let sure = shown >= share * MOST || !facts.starved();
        (if sure { Confidence::High } else { Confidence::Medium }, shown)
    } else if facts.starved()
        && share >= MOST
        && !some(facts.latest.returned)
        && !facts.returns_in_bursts()
        && !pausing
    {
        (Confidence::Medium, share)
    } else if facts.starved() && ended {
        (Confidence::Low, share)
    } else {
        return Judgement::Not;
    };
    let quiet = !some(facts.latest.returned);
    Case::new(confidence, lost)
        .evidence(format!("the owner holds {} and leaves no completion unread", words::buffers(facts, held)))
        .evidence_if(dead.map(|(words, _)| words))
        .evidence_if(quiet.then(|| {
            let time = facts.without_return().max(facts.latest.span);
            format!("it returned nothing in {}", words::last(time))
        }))
        .evidence_if(leak.map(|leak| {
            format!(
                "{} never came back, seen to be lost over {} at {}, {} % of what arrives",
                words::count((leak.lost as f64 / placement.fragments.unwrap_or(1.0)) as u64, "buffer"),
                words::time(leak.span),
                words::rate(leak.per_second),
                words::decimals(leak.share * 100.0)
            )
        }))
        .evidence_if(facts.now.oldest_held.map(|age| format!("the oldest is held for {}", words::time(age))))
        .doubt_if(facts.now.local.is_some(), || {
            "zcrxd receives on this queue itself, and accounts for each buffer until its sink has finished"
                .to_owned()
        })
        .doubt_if(facts.refill_was_full(), || {
            "the refill ring was full: returns may have been dropped because it had no room".to_owned()
        })
        .doubt_if(facts.entries_thrown_away(), || {
            "refill entries are consumed without giving a buffer back: it returns, but wrongly".to_owned()
        })
        .doubt_if(facts.may_be_rejected(), || {
            "more refill entries gave no buffer back than fragments explain: it may return, but wrongly"
                .to_owned()
        })
        .doubt_if(facts.owner.halt.is_some() && leak.is_none(), || {
            "its thread does not run: it may return them once it does".to_owned()
        })
        .fits()
}

/// The ring, of several that share the queue, whose thread is gone, and the number of buffers that are lost with it.
fn importer_died(facts: &Facts<'_>) -> Option<(String, u64)> {
    let before = facts.history.samples().find_map(|sample| {
        let rings = &sample.kernel.as_ref()?.rings;
        (rings.len() > 1).then_some(rings)
    })?;
    let now = &facts.now.kernel.as_ref()?.rings;
    let gone = before.iter().find(|ring| now.iter().all(|other| other.id != ring.id))?;
    let task = gone.consumer.as_ref()?;
    let there = |sample: &&QueueSample| {
        sample.kernel.as_ref().is_some_and(|kernel| kernel.rings.iter().any(|ring| ring.id == gone.id))
    };
    let last = facts.history.samples().rev().find(there).map(|sample| sample.at)?;
    // What the others hold goes up and down; what the dead one held stays.
    let since = facts.steps().filter(|step| step.at > last);
    let lost = since.filter_map(|step| step.placement.held).min()?;
    let words = format!(
        "{}[{}] shared the queue and is gone: {} that it held are lost",
        task.comm,
        task.pid,
        words::buffers(facts, lost)
    );
    Some((words, lost))
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
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
        assert!(!verdict.alarms.is_empty(), "{verdict:?}");
    }

    #[test]
    fn synthetic_leak_after_long_prompt_returns_is_no_pause() {
        // It takes the area within ten seconds: too fast for the floor of what is held, beside returns all the time.
        let mut queue = Queue { cadence: Duration::from_secs(1), ..Queue::default() };
        let mut history = crate::diagnose::History::new(60);
        queue.run_with(30, |sample| history.push(sample));
        queue.leak = 0.018;
        queue.run_with(16, |sample| history.push(sample));
        let finding = first(&verdict(&history), Cause::NeverReturned).clone();
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
        let quiet = Facts::of(&history).expect("samples").without_return();
        assert!(quiet < PAUSE / 2, "{quiet:?}");
    }

    #[test]
    fn a_synthetic_slow_consumer_is_not_called_a_leak() {
        let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
        let verdict = verdict(&queue.run(30));
        assert!(verdict.causes.iter().all(|finding| finding.cause != Cause::NeverReturned), "{verdict:?}");
    }

    #[test]
    fn synthetic_leak_that_fills_the_area_in_seconds_is_named_while_buffers_come_back() {
        let mut queue = Queue {
            buffers: 4258,
            ring: 128,
            arrivals_per_second: 4_200.0,
            hold_ms: 124,
            return_batch: 4,
            socket_limit: 1064,
            cadence: Duration::from_secs(1),
            ..Queue::default()
        };
        let mut history = crate::diagnose::History::new(60);
        queue.run_with(30, |sample| history.push(sample));
        queue.leak = 0.087;
        let mut named = None;
        queue.run_with(30, |sample| {
            history.push(sample);
            let facts = Facts::of(&history).expect("samples");
            let returning = facts.starved() && facts.returning();
            let cause = verdict(&history).cause().map(|found| found.cause);
            if returning && cause == Some(Cause::NeverReturned) {
                named.get_or_insert(facts.now.at);
            }
        });
        assert!(named.is_some());
    }
}
