//! Completion queues: of one ring, and of all rings that share an interface queue.

use serde::{Deserialize, Serialize};

use super::KernelQueue;

/// A completion queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CqState {
    /// Capacity, slots.
    pub entries: u32,
    /// How far user space has read (modulo 2^32).
    pub head: u32,
    /// How far the kernel has written (modulo 2^32).
    pub tail: u32,
    /// Completions that found no room.
    pub overflow: u32,
    /// Whether completions take one or two slots each (`IORING_SETUP_CQE_MIXED`, Linux 6.18). Otherwise each takes one.
    #[serde(default)]
    pub mixed: bool,
    /// Completions that wait, if [`Self::mixed`]; `None` where they could not be counted.
    #[serde(default)]
    pub unread: Option<u32>,
}

impl CqState {
    /// Completions waiting to be read; `None` where completions of two sizes wait and could not be counted.
    pub const fn depth(&self) -> Option<u32> {
        match self.unread {
            Some(unread) => Some(unread),
            None if self.mixed => None,
            None => Some(self.used()),
        }
    }

    /// Slots in use: compare with [`Self::entries`].
    pub const fn used(&self) -> u32 {
        self.tail.wrapping_sub(self.head)
    }
}

impl KernelQueue {
    /// Completion queues of all rings that have the queue, each with the identity of its ring; `None` for one that is unknown.
    pub fn cqs(&self) -> impl Iterator<Item = Option<(u64, CqState)>> {
        // Samples by hand and old recordings name no ring, or do not say more of it.
        let (count, only) = (self.rings.len().max(1), self.cq.filter(|_| self.rings.len() < 2));
        (0..count).map(move |index| match self.rings.get(index) {
            Some(ring) => Some((ring.id, ring.cq.or(only)?)),
            None => Some((0, only?)),
        })
    }

    /// Completions that wait in all rings that have the queue. Of a ring that is used for other things as well, theirs are among them.
    pub fn completions(&self) -> Option<u64> {
        self.cqs().map(|cq| cq?.1.depth().map(u64::from)).sum()
    }

    /// How far a figure of the completion queues went since an earlier sample, all rings together; `None` where the queue had other
    /// rings then. Indices run modulo 2^32.
    pub fn cqs_went(&self, earlier: &Self, read: fn(&CqState) -> u32) -> Option<u64> {
        if self.rings.len() != earlier.rings.len() {
            return None;
        }
        let of_ring = |cq: Option<(u64, CqState)>| {
            let (id, now) = cq?;
            let (_, before) = earlier.cqs().flatten().find(|(other, _)| *other == id)?;
            Some(u64::from(read(&now).wrapping_sub(read(&before))))
        };
        self.cqs().map(of_ring).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::QueueRing;

    fn cq(head: u32, tail: u32) -> CqState {
        CqState { entries: 64, head, tail, ..CqState::default() }
    }

    fn queue(rings: &[(u64, CqState)]) -> KernelQueue {
        let ring = |&(id, cq): &(u64, CqState)| QueueRing { id, cq: Some(cq), ..QueueRing::default() };
        let fullest = rings.iter().map(|(_, cq)| *cq).max_by_key(CqState::used);
        KernelQueue { cq: fullest, rings: rings.iter().map(ring).collect(), ..KernelQueue::default() }
    }

    #[test]
    fn all_rings_of_a_queue_count() {
        let earlier = queue(&[(1, cq(u32::MAX - 1, u32::MAX)), (2, cq(100, 105))]);
        assert_eq!(earlier.completions(), Some(1 + 5));
        // Now the first ring is the fullest.
        let later = queue(&[(2, cq(106, 106)), (1, cq(u32::MAX, 7))]);
        assert_eq!(later.completions(), Some(8));
        assert_eq!(later.cqs_went(&earlier, |cq| cq.tail), Some(8 + 1));
        assert_eq!(later.cqs_went(&earlier, |cq| cq.head), Some(1 + 6));
    }

    #[test]
    fn other_rings_are_no_change() {
        let earlier = queue(&[(1, cq(0, 3))]);
        assert_eq!(queue(&[(2, cq(0, 9))]).cqs_went(&earlier, |cq| cq.tail), None);
        assert_eq!(queue(&[(1, cq(0, 9)), (2, cq(0, 9))]).cqs_went(&earlier, |cq| cq.tail), None);
    }

    #[test]
    fn slots_are_no_completions_where_they_differ() {
        let uncounted = CqState { mixed: true, ..cq(0, 60) };
        assert_eq!((uncounted.depth(), uncounted.used()), (None, 60));
        assert_eq!(queue(&[(1, uncounted), (2, cq(0, 5))]).completions(), None);
        let counted = CqState { unread: Some(31), ..uncounted };
        assert_eq!(queue(&[(1, counted), (2, cq(0, 5))]).completions(), Some(36));
    }

    #[test]
    fn a_sample_without_rings_has_the_queue_s_own() {
        let queue = |tail| KernelQueue { cq: Some(cq(0, tail)), ..KernelQueue::default() };
        assert_eq!(queue(4).completions(), Some(4));
        assert_eq!(queue(9).cqs_went(&queue(4), |cq| cq.tail), Some(5));
        assert_eq!(KernelQueue::default().completions(), None);
    }
}
