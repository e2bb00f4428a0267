//! The destination of zcrxd's sink does not read.

use crate::diagnose::facts::{Facts, none, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::symptoms::quiet_for;
use crate::diagnose::thresholds::LASTING;
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, ReceiveSample, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::SinkBlocked,
    letter: None,
    title: "Sink blocked",
    signature: "zcrxd's queue receives nothing, and every connection is paused because its sink has taken no data: the memory \
                for copies is used up too",
    remedy: "make the destination read: look at the Recv-Q of its socket; a larger copy_out only delays this",
    run: &["ss -tmi dst {destination}", "ss -xap | grep {unix_destination}", "cat /proc/{pid}/stack"],
    produced: Produced::Lab {
        how: "the local queue's destination reads nothing, with the default limits",
        kernels: "7.2, 7.3",
    },
    late: Some("a sink that takes nothing for less than two seconds is no alarm"),
    alarm: Some(alarm),
    needs: &[],
    by_placement: false,
    judge,
};

/// Connections that are paused, if all that are open are.
fn all_paused(local: &ReceiveSample) -> Option<u64> {
    let paused = local.ring?.backlog.paused;
    (paused > 0 && paused >= local.connections).then_some(paused)
}

fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let paused = all_paused(facts.now.local.as_ref()?)?;
    let quiet = quiet_for(facts, |change| none(change.bytes));
    (quiet >= LASTING * 2 && !some(facts.latest.returned)).then(|| Alarm {
        trouble: Trouble::SinkBlocked,
        since: facts.now.at.saturating_sub(quiet),
        last: facts.now.at,
        words: format!(
            "{} paused for {}: the sink takes nothing",
            if paused == 1 {
                "the connection is".to_owned()
            } else {
                format!("all {paused} connections are")
            },
            words::time(quiet)
        ),
    })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let Some(local) = &facts.now.local else { return Judgement::Not };
    let Some(paused) = all_paused(local) else { return Judgement::Not };
    let Some(backlog) = local.ring.map(|ring| ring.backlog) else { return Judgement::Not };
    if !none(facts.recent.bytes) {
        return Judgement::Not;
    }
    Case::new(Confidence::High, 1.0)
        .evidence(format!(
            "{} of {} connections are paused, and nothing was received in {}",
            paused,
            local.connections,
            words::recently(facts)
        ))
        .evidence(format!(
            "the sink `{}{}` holds {} buffers, and copies take {} of {}",
            local.sink,
            local.sink_destination.as_ref().map_or_else(String::new, |destination| format!(":{destination}")),
            backlog.held,
            words::bytes(backlog.copy_out_bytes as f64),
            words::bytes(backlog.copy_out_limit_bytes as f64)
        ))
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{first, verdict};
    use crate::diagnose::tests::paused;

    #[test]
    fn synthetic_queue_with_every_connection_paused_has_a_blocked_sink() {
        let verdict = verdict(&paused(8));
        assert_eq!(
            verdict.alarms.first().map(|alarm| alarm.trouble),
            Some(Trouble::SinkBlocked),
            "{verdict:?}"
        );
        first(&verdict, Cause::SinkBlocked);
    }
}
