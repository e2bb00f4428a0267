//! G: refill entries that the kernel throws away.

use super::missing;
use crate::diagnose::facts::{Facts, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::BadEntries,
    letter: Some('G'),
    title: "Bad or double refill entries",
    signature: "the kernel consumes refill entries that neither return a buffer nor drop a reference, though no buffer was \
                delivered in fragments",
    remedy: "return each completion once, with the offset that it came with and the area's token; the kernel consumes \
             what it cannot use silently and counts it nowhere",
    run: &["cat /proc/{pid}/stack"],
    produced: Produced::Lab {
        how: "every second refill entry names no area, or comes twice (only Linux 7.3 then loses the buffer)",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: Some(alarm),
    needs: &["snapshot", "allocation"],
    by_placement: false,
    judge,
};

/// Raised before buffers run short: each such entry is a bug of the owner, and most lose a buffer.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    if !facts.entries_thrown_away() {
        return None;
    }
    let (thrown, consumed) = facts.thrown_away()?;
    // One sample may have been read while much moved.
    (facts.steps().count() >= 3).then(|| Alarm {
        trouble: Trouble::EntriesRejected,
        since: facts.now.at.saturating_sub(facts.recent.span),
        last: facts.now.at,
        words: format!("the kernel threw {thrown} of {consumed} refill entries away"),
    })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let Some((thrown, consumed)) = facts.thrown_away() else {
        let wastes = facts.starved() && some(facts.whole.consumed) && without_device(facts.now) != Some(true);
        return match facts.fragmented() {
            _ if !wastes => Judgement::Not,
            None => Judgement::Unknown(missing::REFERENCES),
            Some(_) if facts.whole.wasted().is_none() => Judgement::Unknown(missing::ALLOCATIONS),
            Some(_) => Judgement::Not,
        };
    };
    if !facts.entries_thrown_away() {
        return Judgement::Not;
    }
    let share = thrown as f64 / consumed as f64;
    let held = facts.typical().held.unwrap_or(0.0);
    let lost = facts.starved() || facts.thrown_explain_held();
    let contribution = if lost { share.max(held) } else { share };
    Case::new(Confidence::High, contribution)
        .evidence(format!(
            "of {consumed} refill entries consumed, {thrown} ({} %) neither gave a buffer back nor dropped a reference",
            words::decimals(share * 100.0)
        ))
        .evidence("the kernel takes an entry with a wrong offset or token, or a second one of a buffer, and says nothing".to_owned())
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_bad_offsets_come_first_and_not_a_leak() {
        let mut queue = Queue { bad_entries: 0.3, ..Queue::default() };
        let verdict = verdict(&queue.run(3));
        let finding = first(&verdict, Cause::BadEntries);
        assert!(finding.evidence[0].contains("neither gave a buffer back"), "{finding:?}");
    }

    #[test]
    fn synthetic_entries_whose_buffers_come_back_with_their_packet_are_not_bad() {
        // The newest sample says that all references were dropped, and that every fifth entry gave no buffer back.
        let window = Queue::default().run(2);
        let mut samples: Vec<_> = window.samples().cloned().collect();
        let last = samples.last_mut().and_then(|sample| sample.kernel_mut()).expect("a queue of the kernel");
        let count = last.allocation.as_mut().expect("allocations");
        count.buffers -= count.consumed / 5;
        count.failures += 1;
        count.starving_since = Some(std::time::Duration::from_secs(1_000));
        let mut window = crate::diagnose::History::new(16);
        for sample in samples {
            window.push(sample);
        }
        let facts = Facts::of(&window).expect("samples");
        assert!(facts.wasted_share().is_some_and(|share| share >= crate::diagnose::thresholds::WASTED));
        let verdict = verdict(&window);
        assert!(verdict.causes.iter().all(|found| found.cause != Cause::BadEntries), "{verdict:?}");
    }

    #[test]
    fn a_synthetic_burst_between_two_readings_of_a_sample_is_no_rejection() {
        let mut queue = Queue { arrivals_per_second: 300.0, ..Queue::default() };
        let mut history = crate::diagnose::History::new(60);
        let mut samples = Vec::new();
        queue.run_with(8, |sample| samples.push(sample));
        // The newest sample read the completions, then half of the area was delivered, then it read references and counts.
        let newest =
            samples.last_mut().and_then(|sample| sample.kernel_mut()).expect("a queue of the kernel");
        let references = newest.areas[0].user_references.as_mut().expect("references");
        *references += queue.buffers / 2;
        let count = newest.allocation.as_mut().expect("allocations");
        count.buffers -= queue.buffers / 2;
        for sample in samples {
            history.push(sample);
        }
        let facts = Facts::of(&history).expect("samples");
        assert!(facts.whole.rejected() >= Some(queue.buffers / 2), "the sample shows it: {:?}", facts.whole);
        let verdict = verdict(&history);
        assert!(verdict.alarms.is_empty(), "{verdict:?}");
    }

    #[test]
    fn synthetic_bad_entries_that_take_all_buffers_between_two_samples_are_no_leak() {
        // Within the five seconds before the sample that shows them, 50 times as many entries were good.
        let cadence = std::time::Duration::from_secs(5);
        let mut queue = Queue {
            buffers: 1952,
            ring: 128,
            refill_entries: 2048,
            arrivals_per_second: 55_000.0,
            socket_limit: 488,
            cadence,
            ..Queue::default()
        };
        let mut history = crate::diagnose::History::new(60);
        queue.run_with(29, |sample| history.push(sample));
        queue.bad_entries = 0.05;
        queue.run_with(31, |sample| history.push(sample));
        let finding = first(&verdict(&history), Cause::BadEntries).clone();
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
        let mut leak = Queue { leak: 0.05, bad_entries: 0.0, ..Queue { cadence, ..Queue::default() } };
        let verdict = verdict(&leak.run(60));
        assert!(verdict.causes.iter().all(|found| found.cause != Cause::BadEntries), "{verdict:?}");
    }

    #[test]
    fn synthetic_leaks_whose_buffers_come_back_with_their_packet_are_no_bad_entries() {
        for (late, leak, other_completions) in
            [(0.03, 1.0, 0.0), (0.12, 1.0, 0.0), (0.3, 1.0, 9_000.0), (0.1, 0.02, 0.0), (0.2, 0.02, 4_000.0)]
        {
            let mut queue =
                Queue { late, leak: 0.0, bursts: Some(200), other_completions, ..Queue::default() };
            let mut history = crate::diagnose::History::new(60);
            let mut named = |queue: &mut Queue, seconds| {
                queue.run_with(seconds, |sample| {
                    history.push(sample);
                    let verdict = verdict(&history);
                    let bad = verdict.causes.iter().any(|found| found.cause == Cause::BadEntries);
                    assert!(!bad, "late {late}, leak {leak}: {verdict:#?}");
                });
            };
            named(&mut queue, 12);
            queue.leak = leak;
            named(&mut queue, 30);
        }
    }

    #[test]
    fn synthetic_double_returns_come_first() {
        let mut queue = Queue { double_entries: 0.5, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        first(&verdict, Cause::BadEntries);
    }

    #[test]
    fn synthetic_bad_entries_beside_other_completions_are_told_from_a_leak_by_what_was_usual() {
        // A third of the entries gives no buffer back at any time: packets lie in sockets, or buffers come in fragments.
        for (fragments, late) in [(1, 0.25), (1, 0.0), (2, 0.0), (3, 0.1)] {
            for (leak, bad_entries, right) in
                [(0.32, 0.0, Cause::NeverReturned), (0.0, 0.4, Cause::BadEntries)]
            {
                let mut queue = Queue {
                    buffers: 2804,
                    ring: 256,
                    arrivals_per_second: 1_600.0,
                    return_batch: 150,
                    socket_limit: 700,
                    other_completions: 1_200.0,
                    refill_entries: 16_384,
                    cq_entries: 32_768,
                    fragments,
                    late,
                    ..Queue::default()
                };
                let mut history = crate::diagnose::History::new(60);
                queue.run_with(12, |sample| history.push(sample));
                (queue.leak, queue.bad_entries) = (leak, bad_entries);
                queue.run_with(14, |sample| history.push(sample));
                first(&verdict(&history), right);
            }
        }
    }
}
