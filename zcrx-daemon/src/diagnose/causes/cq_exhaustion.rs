//! J: the completion queue has no room.

use std::time::Duration;

use crate::diagnose::facts::{Facts, none, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::symptoms::Activity;
use crate::diagnose::thresholds::{CONSIDERABLE, ENOSPC_BESIDE_STARVATION, LASTING, RECENT};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::CqExhaustion,
    letter: Some('J'),
    title: "Completion queue exhausted",
    signature: "receives end with ENOSPC, and the completion queue is or was full; data then stays in the sockets until \
                the application arms a receive again",
    remedy: "a larger completion queue (IORING_SETUP_CQSIZE); on ENOSPC drain the queue first, then arm the receive again",
    run: &["cat /proc/{pid}/fdinfo/{fd}"],
    produced: Produced::Lab { how: "a completion queue of 8 entries", kernels: "7.2, 7.3" },
    late: None,
    alarm: Some(alarm),
    needs: &["delivery"],
    by_placement: false,
    judge,
};

/// The last refusal after which nothing was received, though much waits: the receive was not armed again.
fn never_armed_again(facts: &Facts<'_>) -> Option<Duration> {
    let refused = facts.steps().rev().find(|step| some(step.change.enospc))?;
    let received =
        facts.steps().rev().take_while(|step| step.at > refused.at).any(|step| !none(step.change.bytes));
    let backlog = facts.now.kernel.as_ref().and_then(|kernel| kernel.sockets)?;
    let much = facts.placement.share(facts.placement.sockets) >= Some(CONSIDERABLE)
        || backlog.limit_bytes > 0
            && backlog.unread_bytes as f64 >= backlog.limit_bytes as f64 * CONSIDERABLE;
    (!received && much).then_some(refused.at)
}

fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let seen =
        Activity::within(facts, RECENT, |step| some(step.change.enospc) || some(step.change.cq_overflows));
    if let Some(seen) = seen.filter(|seen| seen.lasted(LASTING)) {
        let ended = words::count(facts.recent.enospc.unwrap_or(0), "receive");
        return Some(seen.alarm(
            Trouble::CqExhausted,
            format!("{ended} ended with ENOSPC in {}", words::recently(facts)),
        ));
    }
    let since = never_armed_again(facts)?;
    let quiet = facts.now.at.saturating_sub(since);
    (quiet >= LASTING).then(|| Alarm {
        trouble: Trouble::CqExhausted,
        since,
        last: facts.now.at,
        words: format!(
            "a receive ended with ENOSPC, and nothing was received in the {} since",
            words::time(quiet)
        ),
    })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let placement = &facts.placement;
    let full = placement.cq_depth.zip(placement.cq_entries).is_some_and(|(depth, entries)| depth >= entries);
    let now = some(facts.recent.enospc) || some(facts.recent.cq_overflows);
    let since = never_armed_again(facts).is_some();
    let stuck = full && facts.owner_stopped_reading();
    if !(now || since || stuck) {
        return Judgement::Not;
    }
    let known = some(facts.whole.enospc);
    // A completion queue that the owner does not read at all fills whatever its size.
    let unread = facts.owner_stopped_reading();
    let alone = !unread && (since || !facts.starved());
    let contribution = if alone { 1.0 } else { ENOSPC_BESIDE_STARVATION };
    Case::new(if known { Confidence::High } else { Confidence::Medium }, contribution)
        .evidence_if(facts.whole.enospc.filter(|&enospc| enospc > 0).map(|enospc| {
            format!(
                "{} ended with ENOSPC in the last {}",
                words::count(enospc, "receive"),
                words::time(facts.whole.span)
            )
        }))
        .evidence_if(
            placement
                .cq_depth
                .zip(placement.cq_entries)
                .map(|(depth, entries)| format!("{depth} of {entries} completions wait to be read")),
        )
        .evidence_if(since.then(|| {
            format!(
                "nothing was received in {}, while {} wait in sockets",
                words::recently(facts),
                words::buffers(facts, placement.sockets.unwrap_or(0))
            )
        }))
        .doubt_if(!full && !known, || "the completion queue is not full now".to_owned())
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_completion_queue_that_is_too_small_comes_first() {
        let mut queue = Queue { cq_entries: 32, bursts: Some(300), socket_limit: 400, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        let finding = first(&verdict, Cause::CqExhaustion);
        assert!(finding.evidence[0].contains("ENOSPC"), "{finding:?}");
    }

    #[test]
    fn a_synthetic_receive_that_is_never_armed_again_has_this_cause_and_not_only_unread_data() {
        let mut queue = Queue {
            cq_entries: 32,
            bursts: Some(300),
            rearms: false,
            socket_limit: 100_000,
            ..Queue::default()
        };
        let verdict = verdict(&queue.run(8));
        first(&verdict, Cause::CqExhaustion);
        assert!(verdict.causes.iter().any(|finding| finding.cause == Cause::UnreadSocketData), "{verdict:?}");
    }
}
