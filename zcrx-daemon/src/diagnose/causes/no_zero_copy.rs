//! Most payload is copied: it does not arrive in the area.

use crate::diagnose::facts::{Facts, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{MOSTLY_COPIED, NO_ZERO_COPY_BESIDE_STARVATION, WORTH_ZERO_COPY};
use crate::diagnose::words;
use crate::model::{Alarm, BackendKind, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::NoZeroCopy,
    letter: None,
    title: "No zero copy",
    signature: "the queue has a device, but most payload is copied into its area: the NIC does not split headers, or the flows \
                arrive on other queues",
    remedy: "make the data arrive in the area: turn TCP header split on (ethtool -G IF tcp-data-split on) and steer the flows \
             to this queue (ethtool -N, or RSS); copies cost about one CPU for each 5 to 10 GB/s",
    run: &["ethtool -g {interface} | grep -i split", "ethtool -n {interface}", "ethtool -x {interface}"],
    produced: Produced::Not(
        "made in the lab it exhausts the freelist within seconds, which is copy_fallback: diagnosed-copy_fallback",
    ),
    late: None,
    alarm: Some(alarm),
    needs: &["snapshot", "copy"],
    by_placement: false,
    judge,
};

/// What one CPU copies in a second, bytes: memory is touched twice, and seldom in a cache.
const COPIED_BY_ONE_CPU: f64 = 5e9;

/// Bytes copied and received in the window, if that is most of much.
fn copied(facts: &Facts<'_>) -> Option<(u64, u64)> {
    let software =
        facts.now.local.as_ref().is_some_and(|local| local.selection.backend == Some(BackendKind::Copy));
    if software || without_device(facts.now) != Some(false) || !some(facts.recent.copied_bytes) {
        return None;
    }
    let (copied, bytes) = facts.whole.copied_bytes.zip(facts.whole.bytes)?;
    let now = facts.recent.copied_bytes? as f64 >= facts.recent.bytes? as f64 * MOSTLY_COPIED;
    (bytes >= WORTH_ZERO_COPY && now && copied as f64 >= bytes as f64 * MOSTLY_COPIED)
        .then_some((copied, bytes))
}

fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let (copied, bytes) = copied(facts)?;
    if facts.steps().count() < 4 {
        return None;
    }
    let share = copied as f64 / bytes as f64 * 100.0;
    Some(Alarm {
        trouble: Trouble::NotZeroCopy,
        since: facts.now.at.saturating_sub(facts.whole.span),
        last: facts.now.at,
        words: format!("{share:.0} % of the payload was copied in {}", words::last(facts.whole.span)),
    })
}

/// Why the payload is not placed in the area, by what the NIC counts on the queue.
fn why(facts: &Facts<'_>) -> Option<String> {
    let (on_queue, bytes) = facts.whole.nic_bytes.zip(facts.whole.bytes)?;
    let arrived = on_queue as f64 / bytes.max(1) as f64;
    if arrived < MOSTLY_COPIED {
        Some(format!(
            "the NIC counts {} on this queue of {} received: the flows arrive on other queues (steering, RSS)",
            words::bytes(on_queue as f64),
            words::bytes(bytes as f64)
        ))
    } else {
        Some("the payload arrives on this queue and is not placed in its area: header split is off, or does not know these packets".to_owned())
    }
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let Some((copied, bytes)) = copied(facts) else { return Judgement::Not };
    let share = copied as f64 / bytes as f64;
    let starves = facts.starved() || some(facts.recent.enomem);
    let contribution = if starves { NO_ZERO_COPY_BESIDE_STARVATION } else { share };
    let per_second = facts.recent.rate(facts.recent.copied_bytes);
    Case::new(Confidence::High, contribution)
        .evidence(format!("{copied} of {bytes} bytes were copied in {}", words::last(facts.whole.span)))
        .evidence_if(why(facts))
        .evidence_if(per_second.map(|rate| {
            format!(
                "copies move {}/s: about {} % of one CPU, if a CPU copies {} a second",
                words::bytes(rate),
                words::decimals(rate / COPIED_BY_ONE_CPU * 100.0),
                words::bytes(COPIED_BY_ONE_CPU)
            )
        }))
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_queue_whose_payload_is_all_copied_is_told_apart_from_a_starving_one() {
        let mut queue = Queue { copied: 0.9, ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        assert_eq!(
            verdict.alarms.first().map(|alarm| alarm.trouble),
            Some(Trouble::NotZeroCopy),
            "{verdict:?}"
        );
        first(&verdict, Cause::NoZeroCopy);
    }
}
