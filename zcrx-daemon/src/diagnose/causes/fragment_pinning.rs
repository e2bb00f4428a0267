//! F: refill entries return fragments of buffers whose other fragments are still out.

use super::missing;
use crate::diagnose::facts::{Facts, none, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::step::Step;
use crate::diagnose::thresholds::{CONSIDERABLE, MOST, REFILL_BATCH, WASTED};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::FragmentPinning,
    letter: Some('F'),
    title: "Fragment pinning",
    signature: "allocations fail though the refill ring is not empty: one call looks at 64 entries, and all of them \
                return fragments of buffers that have further fragments out",
    remedy: "return the fragments of one buffer next to each other; FLUSH_RQ (Linux 6.19); Linux 7.3 looks at more \
             entries (256 with 4 KiB pages) and joins fragments",
    run: &["ethtool -g {interface}"],
    produced: Produced::Lab {
        how: "the application receives 512 bytes at a time and returns the last fragment of each buffer after all others, to a NIC with \
              32 descriptors that tries again once a second; fragments merely returned far apart did not do it on Linux 7.3, \
              which looks at 512 entries and more",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: None,
    needs: &["snapshot", "allocation"],
    by_placement: true,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    if !facts.starved() || without_device(facts.now) == Some(true) {
        return Judgement::Not;
    }
    let consuming = facts.consuming().unwrap_or(facts.recent);
    let Some(wasted) = consuming.wasted() else { return Judgement::Unknown(missing::ALLOCATIONS) };
    let considerable = facts.wasted_share().is_some_and(|share| share >= WASTED);
    if !considerable || facts.fragmented() == Some(false) {
        return Judgement::Not;
    }
    // A step in which calls consumed entries, failed, and yielded nothing is the signature itself.
    let in_vain =
        facts.steps().rev().take(4).any(|step| {
            some(step.change.failures) && some(step.change.consumed) && none(step.change.yielded)
        });
    let waiting = facts.placement.refill_depth.unwrap_or(0);
    // Nothing looks at entries where the provider is not called.
    if none(facts.recent.calls) {
        return Judgement::Not;
    }
    // Fragments alone are no problem: calls must look at entries and come back without a buffer, or leave many behind.
    // Most samples that find the queue starved show that.
    let starved = || facts.steps().rev().take(6).filter(|step| step.starving_since.is_some());
    let waits_in_vain = starved().filter(|step| step.placement.refill_depth > Some(REFILL_BATCH)).count() * 2
        > starved().count();
    // A sample may have caught entries that the next call consumes; and where the owner holds most buffers, few entries are not
    // what the queue lacks.
    let typical = facts.typical();
    let fills_ring = |step: &&Step| step.placement.refill_fullness() >= Some(MOST);
    let more_wait = typical.pending >= typical.held && typical.pending >= Some(CONSIDERABLE)
        || facts.steps().rev().take(6).filter(fills_ring).count() >= 2;
    // An owner that comes to its ring seldom returns much at once, right before a starvation ends.
    let seldom_comes = facts.awaited_in_sockets() >= CONSIDERABLE;
    let many_wait =
        waits_in_vain && !seldom_comes && more_wait && waiting > REFILL_BATCH && some(facts.recent.consumed);
    if !in_vain && !many_wait {
        return Judgement::Not;
    }
    let confidence = if in_vain || waiting > REFILL_BATCH { Confidence::High } else { Confidence::Medium };
    let pinned = facts.placement.held.zip(facts.placement.pending).map(|(held, pending)| held + pending);
    Case::new(
        confidence,
        facts.placement.share(pinned).unwrap_or(MOST).max(facts.wasted_share().unwrap_or(0.0)),
    )
    .evidence(format!(
        "of {} refill entries consumed in {}, {wasted} gave no buffer back",
        consuming.consumed.unwrap_or(0),
        words::last(consuming.span)
    ))
    .evidence_if(
        facts
            .placement
            .fragments
            .map(|fragments| format!("user space has {fragments:.1} references to each buffer that it has")),
    )
    .evidence_if((waiting > 0).then(|| format!("{waiting} entries wait in the refill ring all the while")))
    .doubt_if(facts.fragmented().is_none(), || {
        "references per buffer are unknown: the entries may be bad".to_owned()
    })
    .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_fragments_returned_far_apart_come_first() {
        let mut queue = Queue { fragments: 32, pinning: true, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        let finding = first(&verdict, Cause::FragmentPinning);
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
    }

    #[test]
    fn synthetic_fragments_alone_are_no_trouble() {
        let verdict = verdict(&Queue { fragments: 8, ..Queue::default() }.run(8));
        assert!(verdict.causes.is_empty() && verdict.alarms.is_empty(), "{verdict:?}");
    }

    #[test]
    fn synthetic_owner_that_holds_fragments_for_long_is_slow() {
        let mut queue = Queue {
            buffers: 5601,
            ring: 64,
            refill_entries: 32_768,
            cq_entries: 65_536,
            arrivals_per_second: 19_500.0,
            fragments: 4,
            hold_ms: 536,
            socket_limit: 22_404,
            cadence: std::time::Duration::from_secs(1),
            ..Queue::default()
        };
        let mut history = crate::diagnose::History::new(60);
        queue.run_with(40, |sample| {
            history.push(sample);
            let verdict = verdict(&history);
            assert!(verdict.causes.iter().all(|found| found.cause != Cause::FragmentPinning), "{verdict:#?}");
        });
        first(&verdict(&history), Cause::SlowConsumer);
    }
}
