//! The interface is down: its page pool is detached until it comes back.

use std::time::Duration;

use crate::diagnose::facts::Facts;
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::PINNED;
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::InterfaceDown,
    letter: None,
    title: "Interface down",
    signature: "the queue is registered, but its page pool is detached: the interface, or its receive queue, is down",
    remedy: "bring the interface up (ip link set IF up); the queue comes back by itself, and nothing has to be restarted",
    run: &["ip -s link show {interface}", "ethtool {interface}"],
    produced: Produced::Lab { how: "the interface is taken down under traffic", kernels: "7.2, 7.3" },
    late: Some("a driver's reset detaches the pool too, for less than 2.5 s"),
    alarm: Some(alarm),
    needs: &["snapshot"],
    by_placement: false,
    judge,
};

/// For how long the pool of a registered queue has been detached.
fn down(facts: &Facts<'_>) -> Option<Duration> {
    let kernel = facts.now.kernel.as_ref()?;
    if kernel.ring.is_none() && kernel.rings.is_empty() {
        return None;
    }
    facts.now.nic.pool_detached_for.filter(|&detached| detached >= PINNED)
}

fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let down = down(facts)?;
    let words =
        format!("its page pool was detached {} ago, and the queue is still registered", words::time(down));
    Some(Alarm {
        trouble: Trouble::InterfaceDown,
        since: facts.now.at.saturating_sub(down),
        last: facts.now.at,
        words,
    })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let Some(down) = down(facts) else { return Judgement::Not };
    Case::new(Confidence::High, 1.0)
        .evidence(format!(
            "the page pool was detached {} ago, and the queue is still registered",
            words::time(down)
        ))
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_registered_queue_with_a_detached_pool_is_down_and_not_pinned() {
        let mut queue = Queue::default();
        queue.run(3);
        queue.interface_down = true;
        let verdict = verdict(&queue.run(5));
        first(&verdict, Cause::InterfaceDown);
        assert!(verdict.causes.iter().all(|found| found.cause != Cause::PinnedAfterTeardown), "{verdict:?}");
    }
}
