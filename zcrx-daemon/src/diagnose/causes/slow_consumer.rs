//! A: the owner holds buffers, or leaves completions unread, for too long.

use super::missing;
use crate::diagnose::facts::Facts;
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, MOST, PAUSE};
use crate::diagnose::{causes::never_returned, words};
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::SlowConsumer,
    letter: Some('A'),
    title: "Slow consumer",
    signature: "allocations fail, the refill ring and the freelist are empty; most of the area is held by the owner, lies in \
                unread completions, or waits in sockets on which a receive is armed; buffers keep coming back, only too slowly",
    remedy: "process or copy out sooner, spread the work over more workers, or make the area larger",
    run: &["perf top -p {pid}", "cat /proc/{pid}/stack", "ss -tmi 'sport = :{port}'"],
    produced: Produced::Lab {
        how: "the application holds each buffer for 800 ms or for two seconds, or reaps no completion; the local queue's \
              destination reads nothing",
        kernels: "7.2, 7.3",
    },
    late: Some(
        "an owner that holds every buffer for seconds looks like one that returns none until the first comes back: until then \
         it is called `never_returned`",
    ),
    alarm: None,
    needs: &["snapshot"],
    by_placement: true,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    // The local receive path accounts for each buffer until its sink is done with it: what it holds is not lost, and what
    // piles up before allocations fail waits for its sink.
    let accounted = facts.now.local.is_some();
    let piles_up = accounted && facts.leak().is_some();
    if !facts.starved() && !piles_up {
        return Judgement::Not;
    }
    let placement = &facts.placement;
    let (Some(held), Some(completed)) = (placement.held, placement.completed) else {
        return Judgement::Unknown(missing::HELD);
    };
    let typical = facts.typical();
    let (Some(held_share), Some(unread_share)) = (typical.held, typical.completed) else {
        return Judgement::Unknown(missing::AREA);
    };
    // Data on which a receive is armed waits for the owner as much as an unread completion does.
    let waiting_share = facts.awaited_in_sockets();
    if facts.owner_stopped_reading() && unread_share + waiting_share + held_share >= CONSIDERABLE {
        return stopped(facts, held + completed);
    }
    let lost = never_returned::lost_share(facts);
    let share = (held_share + unread_share + waiting_share - lost).max(0.0);
    if share < CONSIDERABLE {
        return match facts.kept_between_samples() {
            Some(lasts) if facts.unarmed().unwrap_or(0.0) < MOST => between_samples(facts, lasts, lost),
            _ => Judgement::Not,
        };
    }
    let rate = facts.recent.rate(facts.recent.returned).filter(|&rate| rate > 0.0 && facts.returning());
    let in_bursts = facts.returns_in_bursts();
    let pausing = facts.may_be_pausing() && !facts.piled_up_beside_returns();
    let returning = facts.returning() || in_bursts;
    let confidence =
        if (returning || accounted) && share >= MOST { Confidence::High } else { Confidence::Medium };
    // What an owner holds all the time, whose ring was full, may be returns that it dropped.
    let throughout = facts.held_throughout().filter(|_| facts.refill_was_full() && !accounted);
    let dropped = placement.share(throughout).unwrap_or(0.0);
    let unread = match completed {
        0 => String::new(),
        some => format!(", another {some} in completions that it has not read"),
    };
    Case::new(confidence, share)
        .evidence(format!("the owner holds {}{unread}", words::buffers(facts, held)))
        .evidence_if(in_bursts.then(|| "it returns in bursts, with as long a pause between them before".to_owned()))
        .evidence_if((pausing && !returning).then(|| {
            format!(
                "it returned buffers for {} and stopped {} ago: a pause, unless it lasts for {}",
                words::time(facts.history.returns().lasted()),
                words::time(facts.without_return()),
                words::time(PAUSE)
            )
        }))
        .evidence_if(rate.map(|rate| {
            format!(
                "it returns {}: it holds a buffer for {} on average",
                words::rate(rate),
                words::time(std::time::Duration::from_secs_f64((held + completed) as f64 / rate))
            )
        }))
        .evidence_if((waiting_share >= CONSIDERABLE).then(|| {
            format!(
                "{:.0} % of the area waits in sockets on which a receive is armed: the owner comes to its ring too seldom",
                waiting_share * 100.0
            )
        }))
        .evidence_if(facts.ring_that_waits())
        .evidence_if(facts.now.oldest_held.map(|age| format!("the oldest is held for {}", words::time(age))))
        .evidence_if((!returning && accounted).then(|| {
            format!("its sink finished no buffer in {}", words::last(facts.latest.span))
        }))
        .doubt_if(!returning && !accounted && !pausing && unread_share + waiting_share < CONSIDERABLE, || {
            format!("nothing came back in {}: held buffers may be lost", words::last(facts.latest.span))
        })
        .doubt_if(dropped >= MOST, || {
            format!(
                "the refill ring was full, and {:.0} % of the area is held all the time: returns may have been dropped",
                dropped * 100.0
            )
        })
        .doubt_if(facts.owner_went_silent(), || {
            format!("the owner has not entered its ring for {}: it may have stopped", words::time(facts.owner.idle_for))
        })
        .doubt_if(facts.owner.halt.is_some(), || "its thread gets too little CPU time, or none".to_owned())
        .doubt_if(lost >= share, || {
            format!("a leak was seen to take {:.0} % of the area before allocations failed", lost * 100.0)
        })
        .doubt_if(facts.entries_thrown_away(), || {
            "refill entries are consumed without giving a buffer back: it may well return what seems held".to_owned()
        })
        .doubt_if(facts.refill_shallow() == Some(false) && !facts.software_starving(), || {
            format!("{} returned entries wait in the refill ring", placement.refill_depth.unwrap_or(0))
        })
        .fits()
}

/// Each sample finds the buffers returned, but between samples the queue starves for longer than a prompt owner needs.
fn between_samples(facts: &Facts<'_>, lasts: std::time::Duration, lost: f64) -> Judgement {
    let most_pending = facts.now.kernel.as_ref().and_then(|kernel| kernel.watermarks?.most_pending);
    let in_sockets = facts.typical().sockets.unwrap_or(0.0) * facts.unarmed().unwrap_or(0.0);
    Case::new(Confidence::Medium, 1.0 - lost - in_sockets)
        .evidence(format!(
            "starvations last {} on average, and end when buffers are returned: the owner keeps them for that long between samples",
            words::time(lasts)
        ))
        .evidence_if(most_pending.filter(|&most| most > 0).map(|most| {
            format!("up to {most} returned entries waited at once since the sample before")
        }))
        .fits()
}

/// The owner does not come back to its completion queue. What it would receive then stays in the sockets, and these
/// count as its doing: with `DEFER_TASKRUN`, only the owner's own system calls move data from sockets to completions.
fn stopped(facts: &Facts<'_>, user: u64) -> Judgement {
    let placement = &facts.placement;
    let behind = user + placement.sockets.unwrap_or(0);
    let Some(share) = placement.share(Some(behind)) else { return Judgement::Unknown(missing::AREA) };
    Case::new(Confidence::High, share)
        .evidence(format!(
            "{} wait, and the owner read none in {}",
            words::count(placement.cq_depth.unwrap_or(0), "completion"),
            words::recently(facts)
        ))
        .evidence(format!("{} wait for it or are held by it", words::buffers(facts, behind)))
        .evidence_if(facts.ring_that_waits())
        .doubt_if(facts.owner.halt.is_some(), || "its thread does not run".to_owned())
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_consumer_that_returns_too_slowly_comes_first() {
        let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        let finding = first(&verdict, Cause::SlowConsumer);
        assert_eq!(finding.confidence, Confidence::High, "{verdict:?}");
        assert!(finding.evidence[0].starts_with("the owner holds "), "{finding:?}");
        assert!(finding.evidence[1].starts_with("it returns "), "{finding:?}");
    }

    #[test]
    fn a_synthetic_owner_that_stopped_comes_first_though_its_data_is_in_sockets() {
        let mut queue = Queue { socket_limit: 100_000, ..Queue::default() };
        queue.run(5);
        queue.owner_runs = false;
        let verdict = verdict(&queue.run(4));
        let finding = first(&verdict, Cause::SlowConsumer);
        assert!(finding.evidence[0].contains("the owner read none in the last"), "{finding:?}");
    }

    #[test]
    fn a_synthetic_queue_that_keeps_up_is_not_accused() {
        let verdict = verdict(&Queue::default().run(8));
        assert!(verdict.causes.is_empty(), "{verdict:?}");
    }
}
