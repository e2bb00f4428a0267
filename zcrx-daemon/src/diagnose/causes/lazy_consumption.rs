//! H: refill entries wait, and nothing in the kernel comes to consume them.

use super::missing;
use crate::diagnose::facts::{Change, Facts, none, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::symptoms::{harmed_since, quiet_for};
use crate::diagnose::thresholds::{LASTING, LASTING_WITHOUT_DROPS};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::LazyConsumption,
    letter: Some('H'),
    title: "NAPI not rescheduled",
    signature: "the last allocation failed; refill entries wait now, but NAPI does not run, and the kernel does not call the \
                provider",
    remedy: "restart the receive queue: `ethtool -G IF rx N` with another N, or the interface down and up; the program keeps its \
             registration. Restart it again some seconds later if nothing arrives: buffers that were out during the restart \
             come back by way of the old page pool, after the new ring has looked for them. FLUSH_RQ frees the entries (Linux 6.19) but does not start NAPI. Some drivers end NAPI after a failed \
             allocation and do not schedule it again: docs/nics.md",
    run: &["ethtool --show-coalesce {interface}", "ethtool -S {interface} | grep -i alloc"],
    produced: Produced::Lab {
        how: "a NIC that does not try again after a failed allocation (`alloc_retry_never`), and an application that is slow for a moment",
        kernels: "7.2, 7.3",
    },
    late: Some(
        "zcrxd waits until the kernel has not called the provider for two seconds: by the third sample",
    ),
    alarm: Some(alarm),
    needs: &["snapshot"],
    by_placement: false,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    if without_device(facts.now) == Some(true) || !facts.starved() {
        return Judgement::Not;
    }
    let waiting = facts.placement.refill_depth.unwrap_or(0) + facts.placement.free.unwrap_or(0);
    let probed = facts.recent.calls.is_some();
    // Without the probe, the ring's head shows whether the kernel consumes entries.
    let Some(fetched) = facts.recent.calls.or(facts.recent.fetched) else {
        return Judgement::Unknown(missing::ALLOCATIONS);
    };
    let asks = probed && facts.starving_since().is_none() || !probed && !facts.dropping_with_nothing_posted();
    if asks || fetched > 0 || waiting == 0 || some(facts.recent.polls) || !facts.recent_is_long_enough() {
        return Judgement::Not;
    }
    let stands = none(facts.recent.polls) || some(facts.recent.drops) || facts.nothing_posted() == Some(true);
    let confidence = if stands { Confidence::High } else { Confidence::Medium };
    Case::new(confidence, 1.0)
        .evidence(format!(
            "{} entries wait in the refill ring and {} buffers are free, but the kernel fetched none in {}",
            facts.placement.refill_depth.unwrap_or(0),
            facts.placement.free.unwrap_or(0),
            words::recently(facts)
        ))
        .evidence_if(none(facts.recent.polls).then(|| "NAPI did not run".to_owned()))
        .evidence_if(waits(facts))
        .evidence_if(
            facts
                .recent
                .drops
                .filter(|&drops| drops > 0)
                .map(|drops| format!("the NIC dropped {drops} packets")),
        )
        .doubt_if(!none(facts.recent.bytes) && !stands, || {
            "data still arrives, or it is not known whether it does".to_owned()
        })
        .fits()
}

/// What the NAPI instance of the queue waits for, as the kernel has it now.
fn waits(facts: &Facts<'_>) -> Option<String> {
    let napi = facts.now.kernel.as_ref()?.napi?;
    if napi.disabled {
        return Some("the driver has disabled the queue's NAPI instance".to_owned());
    }
    (!napi.scheduled)
        .then(|| "the queue's NAPI instance is not scheduled: it waits for an interrupt".to_owned())
}

/// Raised when buffers wait, the NIC has none, and the kernel does not call the provider. A queue without traffic whose NIC has
/// posted buffers is idle.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    if without_device(facts.now) == Some(true) {
        return None;
    }
    let placement = &facts.placement;
    let waiting = placement.refill_depth.unwrap_or(0) + placement.free.unwrap_or(0);
    let asleep =
        |change: &Change| none(change.calls.or(change.fetched)) && !some(change.bytes) && !some(change.polls);
    let quiet = quiet_for(facts, asleep);
    let since = match facts.starving_since() {
        Some(since) => since,
        None if facts.recent.calls.is_none() && facts.dropping_with_nothing_posted() => {
            facts.now.at.saturating_sub(quiet)
        }
        None => return None,
    };
    // Drops count from the provider's last call on.
    let lasting = match harmed_since(facts, since.max(facts.now.at.saturating_sub(quiet))) {
        Some(true) => LASTING,
        Some(false) => return None,
        None => LASTING_WITHOUT_DROPS,
    };
    if waiting == 0 || quiet < lasting {
        return None;
    }
    let words =
        format!("{waiting} buffers wait, but the provider has not been asked for {}", words::time(quiet));
    Some(Alarm { trouble: Trouble::Stalled, since, last: facts.now.at, words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::History;
    use crate::diagnose::queue_model::{Queue, first, verdict};
    use crate::model::NapiState;

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
    fn state_of_napi_is_evidence_for_what_it_waits() {
        let mut queue = Queue { napi_restarts: false, socket_limit: 100_000, ..Queue::default() };
        queue.owner_runs = false;
        queue.run(4);
        queue.owner_runs = true;
        for (napi, words) in [
            (NapiState::default(), "is not scheduled: it waits for an interrupt"),
            (NapiState { disabled: true, ..NapiState::default() }, "has disabled the queue's NAPI"),
            (NapiState { scheduled: true, ..NapiState::default() }, ""),
        ] {
            let mut history = History::new(30);
            queue.clone().run_with(5, |mut sample| {
                if let Some(kernel) = sample.kernel_mut() {
                    kernel.napi = Some(napi);
                }
                history.push(sample);
            });
            let verdict = verdict(&history);
            let evidence = first(&verdict, Cause::LazyConsumption).evidence.join("; ");
            assert_eq!(evidence.contains("NAPI instance"), !words.is_empty(), "{evidence}");
            assert!(evidence.contains(words), "{evidence}");
        }
    }

    #[test]
    fn a_synthetic_driver_that_stops_with_buffers_the_nic_does_not_know_of_comes_first() {
        let mut queue = Queue { napi_restarts: false, tells_drops: false, step: 32, ..Queue::default() };
        queue.owner_runs = false;
        queue.socket_limit = 100_000;
        // Part of a step is left over when the area is used up.
        queue.buffers += 26;
        queue.run(4);
        queue.owner_runs = true;
        let verdict = verdict(&queue.run(5));
        first(&verdict, Cause::LazyConsumption);
        assert_eq!(verdict.alarms[0].trouble, Trouble::Stalled, "{verdict:?}");
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
