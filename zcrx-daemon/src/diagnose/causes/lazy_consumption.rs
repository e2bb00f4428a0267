//! H: refill entries wait, and nothing in the kernel comes to consume them.

use super::missing;
use crate::diagnose::facts::{Facts, none, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::LazyConsumption,
    title: "Lazy consumption without NAPI",
    signature: "the last allocation failed; refill entries wait now, but the provider is not called and NAPI does not \
                run",
    remedy: "FLUSH_RQ frees the entries (Linux 6.19) but does not start NAPI: make any interrupt of that queue happen \
             (ethtool --show-coalesce and the driver's own restart), and see the driver's notes: some end NAPI without \
             scheduling it again after a failed allocation",
    produced: Produced::Lab {
        how: "a NIC that does not try again after a failed allocation (`alloc_retry_never`), and an application that is slow for a moment",
        kernels: "7.2, 7.3",
    },
    late: Some("that nobody calls the provider is told once it was so for two seconds: by the third sample"),
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    if without_device(facts.now) == Some(true) || facts.starving_since().is_none() {
        return Judgement::Not;
    }
    let Some(calls) = facts.recent.calls else { return Judgement::Untold(missing::ALLOCATIONS) };
    let waiting = facts.placement.refill_depth.unwrap_or(0) + facts.placement.free.unwrap_or(0);
    if calls > 0 || waiting == 0 || some(facts.recent.polls) || !facts.recent_is_long_enough() {
        return Judgement::Not;
    }
    let confidence = if none(facts.recent.polls) { Confidence::High } else { Confidence::Medium };
    Case::new(confidence, 1.0)
        .evidence(format!(
            "{} entries wait in the refill ring and {} buffers are free, but the provider was not called in {}",
            facts.placement.refill_depth.unwrap_or(0),
            facts.placement.free.unwrap_or(0),
            words::recently(facts)
        ))
        .evidence_if(none(facts.recent.polls).then(|| "NAPI did not run".to_owned()))
        .evidence_if(
            facts.recent.drops.filter(|&drops| drops > 0).map(|drops| format!("the NIC dropped {drops} packets")),
        )
        .doubt_if(!none(facts.recent.bytes), || "data still arrives, or it is not known whether it does".to_owned())
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_driver_that_forgets_to_come_back_comes_first() {
        let mut queue = Queue { napi_restarts: false, ..Queue::default() };
        queue.owner_runs = false;
        queue.socket_limit = 100_000;
        queue.run(4);
        queue.owner_runs = true;
        let verdict = verdict(&queue.run(5));
        let finding = first(&verdict, Cause::LazyConsumption);
        assert_eq!(finding.confidence, Confidence::High, "{verdict:?}");
    }

    #[test]
    fn a_synthetic_idle_queue_with_entries_waiting_is_no_trouble() {
        let mut queue = Queue::default();
        queue.run(5);
        queue.arrivals_per_second = 0.0;
        let verdict = verdict(&queue.run(20));
        assert!(verdict.causes.is_empty() && verdict.alarms.is_empty(), "{verdict:?}");
    }
}
