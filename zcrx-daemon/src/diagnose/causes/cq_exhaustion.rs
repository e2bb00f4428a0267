//! J: the completion queue has no room.

use crate::diagnose::facts::{Facts, none, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::CqExhaustion,
    title: "Completion queue exhausted",
    signature: "receives end with ENOSPC, and the completion queue is or was full; data then stays in the sockets until \
                somebody arms a receive again",
    remedy: "a larger completion queue (IORING_SETUP_CQSIZE); on ENOSPC drain the queue first, then arm the receive again",
    produced: Produced::Lab { how: "a completion queue of 8 entries", kernels: "7.2, 7.3" },
    late: None,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    let placement = &facts.placement;
    let full = placement.cq_depth.zip(placement.cq_entries).is_some_and(|(depth, entries)| depth >= entries);
    let now = some(facts.recent.enospc) || some(facts.recent.cq_overflows);
    // Once refused and never armed again: nothing arrives from then on.
    let since = some(facts.whole.enospc) && none(facts.recent.bytes) && some(placement.sockets);
    let stuck = full && facts.owner_stopped_reading();
    if !(now || since || stuck) {
        return Judgement::Not;
    }
    let known = some(facts.whole.enospc);
    let effect = if since || !facts.starved() { 1.0 } else { 0.6 };
    Case::new(if known { Confidence::High } else { Confidence::Medium }, effect)
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
