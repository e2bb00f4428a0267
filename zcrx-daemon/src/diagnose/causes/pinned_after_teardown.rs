//! M: the queue is gone, but buffers of it are still out.

use crate::diagnose::facts::Facts;
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::PINNED;
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::PinnedAfterTeardown,
    title: "Pinned after teardown",
    signature: "the page pool is detached and cannot go, since buffers of it are in flight; the kernel's log says \
                \"stalled pool shutdown\" after a minute",
    remedy: "close the sockets that still have unread data of the queue, and exported [zcrx] file descriptors",
    produced: Produced::Lab {
        how: "the application is killed while another process has its socket with unread data",
        kernels: "7.2, 7.3",
    },
    late: Some(
        "a pool may take seconds to go in good order, and is told once it was detached for 2.5 s: by the fourth sample",
    ),
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    let nic = &facts.now.nic;
    let Some(detached) = nic.pool_detached_for.filter(|&detached| detached >= PINNED) else {
        return Judgement::Not;
    };
    if nic.pool_inflight == Some(0) {
        return Judgement::Not;
    }
    Case::new(Confidence::High, 1.0)
        .evidence(format!("its page pool was detached {} ago and is still there", words::time(detached)))
        .evidence_if(
            nic.pool_inflight.map(|inflight| format!("{} are out", words::count(inflight, "buffer"))),
        )
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
