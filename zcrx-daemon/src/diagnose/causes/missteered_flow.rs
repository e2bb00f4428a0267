//! K: data of a flow lies in the buffers of another queue.

use crate::diagnose::facts::{Facts, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::symptoms::Activity;
use crate::diagnose::thresholds::{MISSTEERED_BESIDE_STARVATION, RECENT};
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::MissteeredFlow,
    letter: Some('K'),
    title: "Missteered flow",
    signature: "receives end with EFAULT: the flow's packets were placed in the area of another queue",
    remedy: "give each connection to the ring whose queue it arrives on (SO_INCOMING_NAPI_ID names it), and steer flows \
             by rule so that they stay there",
    run: &["ethtool -n {interface}", "ethtool -x {interface}"],
    produced: Produced::Lab {
        how: "a flow arrives on the queue of one application, and its connection is another's",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: Some(alarm),
    needs: &["delivery"],
    by_placement: false,
    judge,
};

/// Raised at once: each of these is a connection lost.
fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let seen = Activity::within(facts, RECENT, |step| some(step.change.efault))?;
    let ended = words::count(facts.recent.efault.unwrap_or(0), "receive");
    Some(seen.alarm(Trouble::Missteered, format!("{ended} ended with EFAULT in {}", words::recently(facts))))
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let Some(efault) = facts.recent.efault.filter(|&efault| efault > 0) else { return Judgement::Not };
    Case::new(Confidence::High, if facts.starved() { MISSTEERED_BESIDE_STARVATION } else { 1.0 })
        .evidence(format!(
            "{} ended with EFAULT in {}",
            words::count(efault, "receive"),
            words::recently(facts)
        ))
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_receives_that_end_with_efault_come_first() {
        let mut queue = Queue { missteered_per_second: 3.0, ..Queue::default() };
        let verdict = verdict(&queue.run(5));
        first(&verdict, Cause::MissteeredFlow);
    }
}
