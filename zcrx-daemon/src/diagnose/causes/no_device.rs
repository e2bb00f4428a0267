//! L: there is no device that would consume the refill ring by itself.

use crate::diagnose::facts::{Facts, none, some, without_device};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::symptoms::quiet_for;
use crate::diagnose::thresholds::{CONSIDERABLE, LASTING, THROUGHOUT};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::NoDevice,
    letter: Some('L'),
    title: "No device (ZCRX_REG_NODEV)",
    signature: "the queue has no interface, everything is copied, and returned entries stay in the refill ring: only a \
                device's allocations consume it",
    remedy: "FLUSH_RQ whenever entries wait and buffers get scarce (Linux 7.1); or use a device",
    run: &["cat /proc/{pid}/stack"],
    produced: Produced::Lab {
        how: "the application never flushes the refill ring of its queue without a device",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: Some(alarm),
    needs: &["snapshot", "delivery"],
    by_placement: true,
    judge,
};

/// No copy finds a buffer, data waits for one, and entries wait in the ring.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let placement = &facts.placement;
    if without_device(facts.now) != Some(true) || placement.free != Some(0) {
        return None;
    }
    let quiet = quiet_for(facts, |change| none(change.bytes));
    let waits = some(placement.unread_bytes) && quiet >= LASTING;
    waits.then(|| Alarm {
        trouble: Trouble::Stalled,
        since: facts.now.at.saturating_sub(quiet),
        last: facts.now.at,
        words: format!(
            "no buffer is free to copy into for {}; {} entries wait in the refill ring",
            words::time(quiet),
            placement.refill_depth.unwrap_or(0)
        ),
    })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    if without_device(facts.now) != Some(true) {
        return Judgement::Not;
    }
    let waiting = facts.placement.refill_depth.unwrap_or(0);
    let nothing_free = facts.placement.free == Some(0) || facts.placement.free.is_none();
    let fails = some(facts.recent.enomem) || none(facts.recent.bytes) && facts.recent_is_long_enough();
    // Between two flushes of an owner that flushes too seldom, a sample may find any number of free buffers.
    let most_pending = most_pending(facts);
    let seldom = some(facts.recent.enomem) && most_pending >= CONSIDERABLE && !facts.mostly_with_user();
    if !(waiting > 0 && nothing_free && fails || seldom) {
        return Judgement::Not;
    }
    let typical = facts.typical().pending.or(facts.placement.share(facts.placement.pending)).unwrap_or(1.0);
    let share = if nothing_free { typical } else { typical.max(most_pending) };
    let free = facts.placement.free.unwrap_or(0);
    Case::new(Confidence::High, share)
        .evidence(match free {
            0 => format!("{waiting} returned entries wait in the refill ring, and no buffer is free"),
            _ => format!(
                "up to {:.0} % of the area waited in the refill ring for a flush within the last seconds",
                most_pending * 100.0
            ),
        })
        .evidence_if(facts.recent.enomem.filter(|&enomem| enomem > 0).map(|enomem| {
            format!("{} ended with ENOMEM in {}", words::count(enomem, "receive"), words::recently(facts))
        }))
        .evidence("the queue has no device that would consume the ring".to_owned())
        .fits()
}

/// The largest share of the area that waited in the refill ring in a sample of the last seconds.
fn most_pending(facts: &Facts<'_>) -> f64 {
    let since = facts.now.at.saturating_sub(THROUGHOUT);
    let steps = facts.history.steps().iter().rev().take_while(|step| step.at >= since);
    steps.filter_map(|step| step.placement.share(step.placement.pending)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_queue_without_device_that_is_never_flushed_comes_first() {
        let mut queue = Queue { device: false, copied: 1.0, ..Queue::default() };
        let verdict = verdict(&queue.run(5));
        first(&verdict, Cause::NoDevice);
    }
}
