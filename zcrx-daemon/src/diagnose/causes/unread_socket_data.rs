//! B: data waits in sockets that no receive is armed for.

use super::missing;
use crate::diagnose::facts::{Facts, none, some};
use crate::diagnose::rule::{Case, Judgement, Produced, Rule};
use crate::diagnose::thresholds::{CONSIDERABLE, POOL_CACHE, SMALL_PACKET_PARTS};
use crate::diagnose::words;
use crate::model::{Cause, Confidence};

pub(super) const RULE: Rule = Rule {
    cause: Cause::UnreadSocketData,
    letter: Some('B'),
    title: "Unread socket data",
    signature: "allocations fail, the refill ring is empty, the completion queue is empty and the owner holds little; \
                the buffers are in the receive queues of sockets on which no receive is armed",
    remedy: "arm a receive (RECV_ZC) on every connection, cap SO_RCVBUF, and size the area for the sum of the receive \
             buffers",
    run: &["ss -tmi 'sport = :{port}'", "cat /proc/{pid}/stack"],
    produced: Produced::Lab {
        how: "the application arms no receive, and its sockets take more than the area has",
        kernels: "7.2, 7.3",
    },
    late: None,
    alarm: None,
    needs: &["snapshot", "sockets"],
    by_placement: true,
    judge,
};

fn judge(facts: &Facts<'_>) -> Judgement {
    if !facts.starved() {
        return Judgement::Not;
    }
    let placement = &facts.placement;
    let Some(shallow) = facts.cq_shallow() else { return Judgement::Unknown(missing::HELD) };
    // Without the sockets' own figures: what the kernel has beyond a full receive ring and a full cache.
    let ring = facts.now.nic.ring.map(u64::from);
    let supposed = placement
        .kernel
        .zip(ring)
        .map(|(in_kernel, ring)| in_kernel.saturating_sub(ring).saturating_sub(POOL_CACHE));
    let Some(unread) = placement.sockets.or(supposed) else { return Judgement::Unknown(missing::SOCKETS) };
    let Some(in_sockets) = facts.typical().sockets.or(placement.share(Some(unread))) else {
        return Judgement::Unknown(missing::AREA);
    };
    let backlog = facts.now.kernel.as_ref().and_then(|kernel| kernel.sockets);
    // Which of it no receive is armed for, where the kernel shows that.
    let unarmed = facts.unarmed();
    let stays = facts.stays_in_sockets().map_or(in_sockets, |stays| stays.min(in_sockets));
    let share = unarmed.map_or(stays, |unarmed| in_sockets * unarmed);
    if share < CONSIDERABLE {
        return Judgement::Not;
    }
    let held_most = facts.typical().held.is_some_and(|held| held > in_sockets);
    // An owner that received before and now does nothing at all has hardly disarmed every receive.
    let went_silent = unarmed.is_none() && facts.owner.ever_active && facts.owner.active == Some(false);
    let per_buffer = backlog.filter(|_| unread > 0).map(|backlog| backlog.unread_bytes / unread.max(1));
    let small =
        per_buffer.zip(facts.now.buffer_bytes).filter(|(bytes, buffer)| bytes * SMALL_PACKET_PARTS < *buffer);
    Case::new(Confidence::High, share)
        .evidence_if(backlog.map(|backlog| {
            format!(
                "{} {} {} unread bytes, {}",
                words::count(u64::from(backlog.sockets), "socket"),
                if backlog.sockets == 1 { "holds" } else { "hold" },
                backlog.unread_bytes,
                words::buffers(facts, unread)
            )
        }))
        .evidence_if(facts.socket_that_waits())
        .evidence_if(unarmed.map(|unarmed| format!("no receive is armed for {:.0} % of that", unarmed * 100.0)))
        .evidence_if(small.map(|(bytes, buffer)| {
            format!("small packets: each keeps a buffer of {buffer} bytes for {bytes} bytes of payload")
        }))
        .evidence_if(shallow.then(|| "the completion queue is empty: nothing fetches them".to_owned()))
        .evidence_if(
            none(facts.recent.bytes).then(|| format!("nothing was received in {}", words::recently(facts))),
        )
        .evidence_if(facts.ring_that_waits())
        .doubt_if(backlog.is_none(), || {
            "the sockets were not looked at: this is what the kernel has beyond a full receive ring"
                .to_owned()
        })
        .doubt_if(went_silent, || {
            "the owner received before, and now neither receives nor returns: it may not enter the kernel at all".to_owned()
        })
        .doubt_if(some(facts.recent.bytes) && unarmed.is_none(), || {
            "the owner still receives: it may only come to its ring too seldom".to_owned()
        })
        .doubt_if(some(facts.whole.enospc), || {
            "a receive ended with ENOSPC: it may not have been armed again".to_owned()
        })
        .doubt_if(facts.owner_stopped_reading(), || {
            "completions wait unread: the owner has stopped altogether".to_owned()
        })
        .doubt_if(facts.owner.halt.is_some(), || "the owner's thread does not run".to_owned())
        .doubt_if(held_most, || {
            format!("the owner holds more: {}", words::buffers(facts, placement.held.unwrap_or(0)))
        })
        .fits()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::{Queue, first, verdict};

    #[test]
    fn synthetic_sockets_without_a_receive_come_first() {
        let mut queue = Queue { armed: false, socket_limit: 100_000, ..Queue::default() };
        let verdict = verdict(&queue.run(5));
        let finding = first(&verdict, Cause::UnreadSocketData);
        assert_eq!(finding.confidence, Confidence::High, "{finding:?}");
        assert!(finding.evidence[0].contains("unread bytes"), "{finding:?}");
    }

    #[test]
    fn without_the_sockets_figures_it_is_less_sure() {
        let mut queue =
            Queue { armed: false, socket_limit: 100_000, tells_sockets: false, ..Queue::default() };
        let verdict = verdict(&queue.run(5));
        assert_eq!(first(&verdict, Cause::UnreadSocketData).confidence, Confidence::Medium);
    }

    #[test]
    fn with_neither_sockets_nor_ring_it_says_what_is_missing() {
        let mut queue = Queue {
            armed: false,
            socket_limit: 100_000,
            tells_sockets: false,
            tells_ring: false,
            ..Queue::default()
        };
        let verdict = verdict(&queue.run(5));
        assert!(verdict.missing.iter().any(|missing| missing == missing::SOCKETS), "{verdict:?}");
    }
}
