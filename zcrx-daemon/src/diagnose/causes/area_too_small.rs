//! C: the area cannot cover what is posted and on its way.

use std::time::Duration;

use super::missing;
use crate::diagnose::facts::{Facts, none, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, COPIES_BESIDE_STARVATION, MOST, POOL_CACHE, PROMPT};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::AreaTooSmall,
    letter: Some('C'),
    title: "Area too small",
    signature: "allocations fail again and again although the owner reads and returns promptly: the buffers are posted \
                to the NIC and on their way",
    remedy: "make the area at least the receive ring, the bandwidth-delay product, the sum of the sockets' receive \
             buffers, the completion backlog and 128 buffers of the pool's cache together; or make the receive ring \
             smaller; or add an area (Linux 7.3)",
    run: &["ethtool -g {interface}", "ss -tmi 'sport = :{port}'"],
    produced: Produced::Lab {
        how: "an area of 64 buffers, which cannot fill the receive ring",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: None,
    needs: &["snapshot", "allocation"],
    by_placement: true,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    let placement = &facts.placement;
    if !facts.starved() {
        return Judgement::Not;
    }
    let (Some(total), Some(held), Some(completed)) = (placement.total, placement.held, placement.completed)
    else {
        return Judgement::Unknown(missing::HELD);
    };
    let user = held + completed + placement.stashed.unwrap_or(0);
    let typical = facts.typical();
    let with_user = [typical.held, typical.completed, typical.stashed].into_iter().flatten().sum::<f64>();
    let in_sockets = typical.sockets.unwrap_or(0.0);
    let most_in_sockets = typical.sockets_between.map_or(in_sockets, |(_, most)| most);
    if with_user >= MOST || most_in_sockets >= MOST || !facts.recent_is_long_enough() {
        return Judgement::Not;
    }
    let device = without_device(facts.now) != Some(true);
    // Some drivers post several buffers at a time (gve 32), and none at all if the area has fewer.
    let receives_nothing = device
        && facts.ring_takes_all()
        && user == 0
        && most_in_sockets == 0.0
        && placement.pending == Some(0);
    if !some(facts.recent.returned) && !receives_nothing {
        return Judgement::Not;
    }
    // Entries that wait for a flush are no buffers in use, and what comes back late was not on its way.
    let waits_for_flush = !device && placement.share(placement.pending) >= Some(CONSIDERABLE);
    if waits_for_flush || facts.kept_between_samples().is_some() {
        return Judgement::Not;
    }
    let ring = facts.now.nic.ring.filter(|_| device).map(u64::from);
    let rate = facts.recent.rate(facts.recent.returned).unwrap_or(0.0);
    let hold = Duration::from_secs_f64(if rate > 0.0 { user as f64 / rate } else { 0.0 });
    let confidence = match (facts.ring_takes_all() && device, ring) {
        (true, _) => Confidence::High,
        (false, None) if hold <= PROMPT => Confidence::Medium,
        (false, _) => Confidence::Low,
    };
    // Where copies find no buffer and no packet is lost, the copies are the problem.
    let only_copies = some(facts.recent.enomem) && none(facts.recent.drops);
    let share = if only_copies { COPIES_BESIDE_STARVATION } else { 1.0 };
    let case = Case::new(confidence, share * (1.0 - with_user - in_sockets));
    let case = if rate > 0.0 {
        case.evidence(format!(
            "user space has only {} and returns {}",
            words::buffers(facts, user),
            words::rate(rate)
        ))
        .evidence(format!("it has a buffer for {} on average", words::time(hold)))
    } else {
        case.evidence(format!("nothing arrives: all {total} buffers are with the NIC and the page pool"))
    };
    case.evidence_if(ring.map(|ring| {
        format!(
            "the receive ring of {ring} and the pool's cache of {POOL_CACHE} can take {} of {total} buffers",
            (ring + POOL_CACHE).min(total)
        )
    }))
    .evidence_if(facts.recent.failures.filter(|&failures| failures > 0).map(|failures| {
        format!("{} failed in {}", words::count(failures, "allocation"), words::recently(facts))
    }))
    .doubt_if(hold > PROMPT, || format!("{} is not prompt", words::time(hold)))
    .doubt_if(facts.entries_thrown_away(), || {
        "refill entries are consumed without giving a buffer back".to_owned()
    })
    .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_area_no_larger_than_the_ring_comes_first() {
        let mut queue = Queue { buffers: 600, ring: 512, bursts: Some(700), ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        let finding = first(&verdict, Cause::AreaTooSmall);
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
    }

    #[test]
    fn an_owner_that_holds_most_is_not_excused_by_the_area() {
        let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        assert!(verdict.causes.iter().all(|finding| finding.cause != Cause::AreaTooSmall), "{verdict:?}");
    }
}
