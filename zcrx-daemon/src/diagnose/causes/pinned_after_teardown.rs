//! M: the queue is gone, but buffers of it are still out.

use std::time::Duration;

use crate::diagnose::facts::Facts;
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::PINNED;
use crate::diagnose::words;
use crate::model::{Alarm, Cause, Confidence, Trouble};

pub(super) const RULE: Rule = Rule {
    cause: Cause::PinnedAfterTeardown,
    letter: Some('M'),
    title: "Pinned after teardown",
    signature: "the page pool is detached, and the kernel cannot free it while its buffers are in flight; the kernel's log says \
                \"stalled pool shutdown\" after a minute",
    remedy: "close the sockets that still have unread data of the queue, and exported [zcrx] file descriptors",
    run: &["ss -tmpi 'sport = :{port}'", "dmesg | grep 'stalled pool'"],
    produced: Produced::Lab {
        how: "the application is killed while another process has its socket with unread data",
        kernels: "7.2, 7.3",
    },
    late: Some(
        "the kernel may need seconds to free a healthy pool, so zcrxd waits until the pool has been detached for 2.5 s: by the fourth sample",
    ),
    alarm: Some(alarm),
    needs: &["snapshot"],
    by_placement: false,
    judge,
};

/// For how long the pool has been detached, if its queue is gone and the pool still has buffers. A queue that is still
/// registered comes back with its interface.
fn detached(facts: &Facts<'_>) -> Option<Duration> {
    let nic = &facts.now.nic;
    let registered =
        facts.now.kernel.as_ref().is_some_and(|kernel| kernel.ring.is_some() || !kernel.rings.is_empty());
    if registered || nic.pool_inflight == Some(0) {
        return None;
    }
    nic.pool_detached_for.filter(|&detached| detached >= PINNED)
}

fn alarm(facts: &Facts<'_>) -> Option<Alarm> {
    let detached = detached(facts)?;
    let inflight = facts.now.nic.pool_inflight;
    let out = inflight.map_or_else(String::new, |inflight| format!(", and {inflight} buffers are in use"));
    Some(Alarm {
        trouble: Trouble::Pinned,
        since: facts.now.at.saturating_sub(detached),
        last: facts.now.at,
        words: format!("its page pool was detached {} ago{out}", words::time(detached)),
    })
}

fn judge(facts: &Facts<'_>) -> Judgement {
    let Some(detached) = detached(facts) else { return Judgement::Not };
    let inflight = facts.now.nic.pool_inflight;
    Case::new(Confidence::High, 1.0)
        .evidence(format!("its page pool was detached {} ago and is still there", words::time(detached)))
        .evidence_if(inflight.map(|inflight| format!("{} are in use", words::count(inflight, "buffer"))))
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn a_synthetic_pool_that_cannot_go_comes_first() {
        let mut queue = Queue::default();
        queue.run(3);
        queue.torn_down = true;
        let verdict = verdict(&queue.run(4));
        let finding = first(&verdict, Cause::PinnedAfterTeardown);
        assert!(finding.evidence[0].contains("detached"), "{finding:?}");
    }
}
