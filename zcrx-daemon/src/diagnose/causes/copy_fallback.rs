//! I: the kernel copies, and finds no buffer to copy into.

use super::missing;
use crate::diagnose::facts::{Facts, none, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::symptoms::Activity;
use crate::diagnose::thresholds::{COPIES_BESIDE_STARVATION, LASTING, RECENT};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::CopyFallback,
    letter: Some('I'),
    title: "Copy fallback without a free buffer",
    signature: "receives end with ENOMEM while the NIC gets its buffers: data that the NIC did not place in the area must \
                be copied, copies take buffers from the freelist only, and the freelist is empty",
    remedy: "make the data arrive in the area: TCP header split, RSS and flow steering to this queue; a larger area \
             leaves buffers on the freelist",
    run: &["ethtool -g {interface} | grep -i split", "ethtool -n {interface}", "ethtool -x {interface}"],
    produced: Produced::Lab {
        how: "the application registers another queue than the flow arrives on, and no entry of its refill ring is consumed; \
              zcrxd's queue likewise, with an area that the NIC's ring takes whole",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: Some(alarm),
    needs: &["delivery"],
    by_placement: false,
    judge,
};

/// Receives keep ending because a copy finds no buffer.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let seen = Activity::within(facts, RECENT, |step| some(step.change.enomem))?;
    let ended = words::count(facts.recent.enomem.unwrap_or(0), "receive");
    let words = format!("{ended} ended with ENOMEM in {}", words::recently(facts));
    seen.lasted(LASTING).then(|| seen.alarm(Trouble::CopyLivelock, words))
}

fn judge(facts: &Facts<'_>) -> Judgement {
    // Without a device, copies are all there is: what keeps their buffers away is another cause.
    if without_device(facts.now) == Some(true) {
        return Judgement::Not;
    }
    let Some(enomem) = facts.recent.enomem else {
        return if some(facts.recent.copied_bytes) {
            Judgement::Unknown(missing::ERRORS)
        } else {
            Judgement::Not
        };
    };
    if enomem == 0 {
        return Judgement::Not;
    }
    // Failed allocations that lose no packet only top up the receive ring.
    let starved = some(facts.recent.failures) && !none(facts.recent.drops);
    let copied = facts.recent.copied_bytes.zip(facts.recent.bytes).filter(|(_, bytes)| *bytes > 0);
    Case::new(Confidence::High, if starved { COPIES_BESIDE_STARVATION } else { 1.0 })
        .evidence(format!(
            "{} ended with ENOMEM in {}",
            words::count(enomem, "receive"),
            words::recently(facts)
        ))
        .evidence_if(facts.placement.free.filter(|&free| free == 0).map(|_| "no buffer is free".to_owned()))
        .evidence_if(
            facts
                .recent
                .yielded
                .filter(|&yielded| yielded > 0 && !starved)
                .map(|yielded| format!("the NIC's own allocations succeed: {yielded} buffers")),
        )
        .evidence_if(copied.map(|(copied, bytes)| {
            format!("{:.0} % of the payload is copied", copied as f64 / bytes as f64 * 100.0)
        }))
        .doubt_if(
            none(facts.recent.copied_bytes) && facts.placement.free.is_some_and(|free| free > 0),
            || "nothing was copied, and buffers are free".to_owned(),
        )
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_copies_without_a_free_buffer_come_first() {
        let mut queue = Queue { copied: 0.5, buffers: 640, bursts: Some(300), ..Queue::default() };
        let verdict = verdict(&queue.run(8));
        let finding = first(&verdict, Cause::CopyFallback);
        assert!(finding.evidence.iter().any(|words| words == "no buffer is free"), "{finding:?}");
    }
}
