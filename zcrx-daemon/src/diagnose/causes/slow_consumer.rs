//! A: the owner holds buffers, or leaves completions unread, for too long.

use super::missing;
use crate::diagnose::facts::Facts;
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, MOST, TREND};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::SlowConsumer,
    title: "Slow consumer",
    signature: "allocations fail, the refill ring and the freelist are empty; most of the area is held by the owner or \
                lies in unread completions, and buffers keep coming back, only too slowly; or completions wait and the \
                owner reads none",
    remedy: "process or copy out sooner, spread the work over more workers, or make the area larger",
    produced: Produced::Lab {
        how: "the application holds each buffer for 800 ms or for two seconds, or reaps no completion; the own queue's destination reads nothing",
        kernels: "7.2, 7.3",
    },
    late: Some(
        "an owner that holds every buffer for seconds looks like one that returns none until the first comes back: it is called `never_returned` until then",
    ),
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    // The own receive path accounts for each buffer until its sink is done with it: what it holds is not lost, and what
    // piles up before allocations fail is its sink's doing.
    let accounted = facts.now.local.is_some();
    let grows = facts.held_floor.filter(|floor| floor.rises() && floor.span >= TREND);
    let piles_up = accounted && grows.is_some();
    if !facts.starved() && !piles_up {
        return Judgement::Not;
    }
    let placement = &facts.placement;
    let (Some(held), Some(completed)) = (placement.held, placement.completed) else {
        return Judgement::Untold(missing::HELD);
    };
    let (Some(share), Some(waiting)) =
        (placement.share(Some(held + completed)), placement.share(Some(completed)))
    else {
        return Judgement::Untold(missing::AREA);
    };
    if facts.owner_stopped_reading() {
        return stopped(facts, held + completed);
    }
    if share < CONSIDERABLE {
        return Judgement::Not;
    }
    let rate = facts.recent.rate(facts.recent.returned).filter(|&rate| rate > 0.0 && facts.returning());
    let in_bursts = facts.returns_in_bursts();
    let returning = facts.returning() || in_bursts;
    let throughout = facts.held_throughout().filter(|_| facts.refill_was_full() && !accounted);
    let dropped = placement.share(throughout).unwrap_or(0.0);
    let confidence =
        if (returning || accounted) && share >= MOST { Confidence::High } else { Confidence::Medium };
    Case::new(confidence, share)
        .evidence(format!(
            "the owner holds {}, another {completed} in completions that it has not read",
            words::buffers(facts, held)
        ))
        .evidence_if(in_bursts.then(|| "it returns in bursts, with as long a pause between them before".to_owned()))
        .evidence_if(rate.map(|rate| {
            format!(
                "it returns {}: a buffer is out for {} on average",
                words::rate(rate),
                words::time(std::time::Duration::from_secs_f64((held + completed) as f64 / rate))
            )
        }))
        .evidence_if(facts.now.oldest_held.map(|age| format!("the oldest is held for {}", words::time(age))))
        .evidence_if((!returning && accounted).then(|| {
            format!("its sink has been done with none in {}", words::last(facts.latest.span))
        }))
        .doubt_if(!returning && !accounted && waiting < CONSIDERABLE, || {
            format!("nothing came back in {}: held buffers may be lost", words::last(facts.latest.span))
        })
        .doubt_if(grows.is_some() && !accounted && facts.cq_shallow() == Some(true), || {
            format!(
                "what it holds only grew in the last {}, though it reads its completions: it may lose buffers",
                words::time(facts.whole.span)
            )
        })
        .doubt_if(dropped >= MOST, || {
            format!(
                "the refill ring was full, and {:.0} % of the area is held all the time: returns may have been dropped",
                dropped * 100.0
            )
        })
        .doubt_if(facts.entries_thrown_away(), || {
            "refill entries are consumed without giving a buffer back: it may well return what seems held".to_owned()
        })
        .doubt_if(facts.refill_shallow() == Some(false) && !facts.software_starving(), || {
            format!("{} returned entries wait in the refill ring", placement.refill_depth.unwrap_or(0))
        })
        .fits()
}

/// The owner does not come back to its completion queue. What it would receive then stays in the sockets, and these
/// count as its doing: with `DEFER_TASKRUN`, only the owner's own system calls move data from sockets to completions.
fn stopped(facts: &Facts<'_>, user: u64) -> Judgement {
    let placement = &facts.placement;
    let behind = user + placement.sockets.unwrap_or(0);
    let Some(share) = placement.share(Some(behind)) else { return Judgement::Untold(missing::AREA) };
    Case::new(Confidence::High, share)
        .evidence(format!(
            "{} wait, and the owner read none in {}",
            words::count(placement.cq_depth.unwrap_or(0), "completion"),
            words::recently(facts)
        ))
        .evidence(format!("{} wait for it or are held by it", words::buffers(facts, behind)))
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
