//! How long buffers are held, at a cost per batch: one clock read at its begin, one when it is published.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::model::{Histogram, MICROSECONDS};

/// Which batches the buffers that are out were reaped in.
///
/// Buffers of one batch are counted together: what comes and goes within a batch, as with a sink that consumes at
/// once, touches no more than two numbers. The map never has more entries than buffers are out.
#[derive(Debug)]
pub(super) struct Holds {
    /// When the batch under way was reaped.
    now: Instant,
    /// Of that batch, still out.
    fresh: u64,
    /// Of earlier batches, still out, by the time they were reaped.
    earlier: BTreeMap<Instant, u64>,
    /// Given back and not published yet, in the order of their entries.
    back: VecDeque<(Instant, u64)>,
    held: Histogram,
}

impl Holds {
    pub(super) fn new() -> Self {
        Self {
            now: Instant::now(),
            fresh: 0,
            earlier: BTreeMap::new(),
            back: VecDeque::new(),
            held: Histogram::default(),
        }
    }

    /// A batch of completions is about to be looked at.
    pub(super) fn batch(&mut self, now: Instant) {
        if self.fresh > 0 {
            *self.earlier.entry(self.now).or_default() += std::mem::take(&mut self.fresh);
        }
        self.now = now;
    }

    /// A completion hands out a buffer: the time to remember it by.
    pub(super) const fn taken(&mut self) -> Instant {
        self.fresh += 1;
        self.now
    }

    /// An entry for a buffer of that time queues up for publication.
    pub(super) fn given_back(&mut self, reaped: Instant) {
        match self.back.back_mut() {
            Some((last, count)) if *last == reaped => *count += 1,
            _ => self.back.push_back((reaped, 1)),
        }
    }

    /// So many entries, the oldest that queue up, are published now.
    pub(super) fn published(&mut self, entries: u32, now: Instant) {
        let mut left = u64::from(entries);
        while left > 0
            && let Some((reaped, count)) = self.back.front_mut()
        {
            let (reaped, some) = (*reaped, left.min(*count));
            left -= some;
            *count -= some;
            if *count == 0 {
                self.back.pop_front();
            }
            let micros = now.saturating_duration_since(reaped).as_micros();
            self.held.observe(&MICROSECONDS, u64::try_from(micros).unwrap_or(u64::MAX), some);
            self.settle(reaped, some);
        }
    }

    /// When the buffer that is out longest was reaped; `None` if none is out.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let earlier = self.earlier.first_key_value().map(|(reaped, _)| *reaped);
        earlier.or_else(|| (self.fresh > 0).then_some(self.now))
    }

    /// For how long those that are back were out.
    pub(super) const fn held(&self) -> &Histogram {
        &self.held
    }

    fn settle(&mut self, reaped: Instant, mut count: u64) {
        if let Some(out) = self.earlier.get_mut(&reaped) {
            let some = count.min(*out);
            *out -= some;
            count -= some;
            if *out == 0 {
                self.earlier.remove(&reaped);
            }
        }
        // Two batches within one tick of the clock share a time.
        self.fresh = self.fresh.saturating_sub(count);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_comes_and_goes_in_one_batch_leaves_nothing_behind() {
        let mut holds = Holds::new();
        let begin = Instant::now();
        holds.batch(begin);
        for _ in 0..100 {
            let reaped = holds.taken();
            holds.given_back(reaped);
        }
        assert_eq!(holds.back.len(), 1);
        assert_eq!(holds.oldest(), Some(begin));
        holds.published(100, begin + Duration::from_micros(30));
        assert_eq!((holds.held().count(), holds.oldest()), (100, None));
        assert!(holds.earlier.is_empty() && holds.back.is_empty());
    }

    #[test]
    fn a_full_refill_ring_prolongs_the_hold() {
        let mut holds = Holds::new();
        let begin = Instant::now();
        holds.batch(begin);
        for _ in 0..3 {
            let reaped = holds.taken();
            holds.given_back(reaped);
        }
        holds.published(1, begin);
        holds.batch(begin + Duration::from_secs(1));
        assert_eq!(holds.oldest(), Some(begin));
        holds.published(2, begin + Duration::from_secs(2));
        let slow = holds.held().cumulative(&MICROSECONDS).filter(|(_, count)| *count == 3).count();
        assert_eq!(slow, 2, "two of three took two seconds: only the buckets to 5 s and 30 s hold all");
        assert_eq!(holds.oldest(), None);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Batch(u64),
        Take,
        GiveBack(usize),
        Publish(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..3_u64).prop_map(Act::Batch),
            Just(Act::Take),
            any::<usize>().prop_map(Act::GiveBack),
            (0..4_u32).prop_map(Act::Publish),
        ]
    }

    proptest! {
        /// Against a model that remembers every buffer by itself.
        #[test]
        fn the_oldest_is_always_known(acts in prop::collection::vec(act(), 0..200)) {
            let mut now = Instant::now();
            let mut holds = Holds::new();
            let (mut out, mut back, mut done) = (Vec::new(), VecDeque::new(), 0);
            holds.batch(now);
            for act in acts {
                match act {
                    Act::Batch(later) => {
                        now += Duration::from_millis(later);
                        holds.batch(now);
                    }
                    Act::Take => out.push(holds.taken()),
                    Act::GiveBack(which) if !out.is_empty() => {
                        let reaped = out.swap_remove(which % out.len());
                        holds.given_back(reaped);
                        back.push_back(reaped);
                    }
                    Act::GiveBack(_) => {}
                    Act::Publish(entries) => {
                        let entries = entries.min(back.len() as u32);
                        holds.published(entries, now);
                        back.drain(..entries as usize);
                        done += u64::from(entries);
                    }
                }
                prop_assert_eq!(holds.oldest(), out.iter().chain(&back).min().copied());
                prop_assert_eq!(holds.held().count(), done);
                prop_assert!(holds.earlier.len() <= out.len() + back.len());
            }
        }
    }
}
