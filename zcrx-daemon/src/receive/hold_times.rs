//! Hold times of buffers in user space: from the batch that reaped the completion to the publication of the refill entry.
//!
//! Keeps one record per batch of completions, not per buffer. A batch whose buffers are all returned at once costs two additions.

use std::collections::VecDeque;
use std::time::Instant;

use crate::model::{Histogram, MICROSECONDS};

/// Buffers of one earlier batch that are not published yet.
#[derive(Clone, Copy, Debug)]
struct Batch {
    number: u64,
    reaped: Instant,
    held: u64,
}

/// Hold times of one ring's buffers.
#[derive(Debug)]
pub(super) struct HoldTimes {
    /// The current batch.
    number: u64,
    reaped: Instant,
    /// Buffers of the current batch that are not published yet.
    held: u64,
    /// Earlier batches with buffers that are not published yet, oldest first.
    earlier: VecDeque<Batch>,
    /// Buffers returned and not published, as (batch, count), in the order of their entries. `last` is its end.
    back: VecDeque<(u64, u64)>,
    last: (u64, u64),
    times: Histogram,
}

impl HoldTimes {
    pub(super) fn new() -> Self {
        Self {
            number: 0,
            reaped: Instant::now(),
            held: 0,
            earlier: VecDeque::new(),
            back: VecDeque::new(),
            last: (0, 0),
            times: Histogram::default(),
        }
    }

    /// Begins a batch of completions.
    pub(super) fn begin_batch(&mut self, now: Instant) {
        if self.held > 0 {
            let held = std::mem::take(&mut self.held);
            self.earlier.push_back(Batch { number: self.number, reaped: self.reaped, held });
        }
        self.number += 1;
        self.reaped = now;
    }

    /// Counts a delivered buffer. Returns the batch to remember it by.
    #[inline]
    pub(super) const fn delivered(&mut self) -> u64 {
        self.held += 1;
        self.number
    }

    /// Counts a buffer of that batch whose entry waits for publication.
    #[inline]
    pub(super) fn given_back(&mut self, batch: u64) {
        if self.last.0 == batch {
            self.last.1 += 1;
        } else {
            self.begin_run(batch);
        }
    }

    #[cold]
    fn begin_run(&mut self, batch: u64) {
        if self.last.1 > 0 {
            self.back.push_back(self.last);
        }
        self.last = (batch, 1);
    }

    /// Ends the hold of the `entries` oldest buffers that were returned.
    pub(super) fn published(&mut self, entries: u32, now: Instant) {
        let mut left = u64::from(entries);
        while left > 0 {
            let run = self.back.front_mut().unwrap_or(&mut self.last);
            let (batch, count) = (run.0, left.min(run.1));
            run.1 -= count;
            if run.1 == 0 && !self.back.is_empty() {
                self.back.pop_front();
            }
            if count == 0 {
                return;
            }
            left -= count;
            let reaped = self.release(batch, count);
            let micros = now.saturating_duration_since(reaped).as_micros();
            self.times.observe(&MICROSECONDS, u64::try_from(micros).unwrap_or(u64::MAX), count);
        }
    }

    /// Takes published buffers off their batch. Returns when the batch was reaped.
    fn release(&mut self, batch: u64, count: u64) -> Instant {
        if batch == self.number {
            self.held -= count;
            return self.reaped;
        }
        let at = self.earlier.partition_point(|earlier| earlier.number < batch);
        let Some(earlier) = self.earlier.get_mut(at).filter(|earlier| earlier.number == batch) else {
            return self.reaped;
        };
        earlier.held -= count;
        let reaped = earlier.reaped;
        if earlier.held == 0 {
            self.earlier.remove(at);
        }
        reaped
    }

    /// When the buffer that is held longest was reaped; `None` if none is held.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let earlier = self.earlier.front().map(|earlier| earlier.reaped);
        earlier.or_else(|| (self.held > 0).then_some(self.reaped))
    }

    /// Hold times of published buffers.
    pub(super) const fn times(&self) -> &Histogram {
        &self.times
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn batch_that_goes_back_at_once_leaves_no_record() {
        let mut holds = HoldTimes::new();
        let begin = Instant::now();
        holds.begin_batch(begin);
        for _ in 0..100 {
            let batch = holds.delivered();
            holds.given_back(batch);
        }
        assert_eq!(holds.oldest(), Some(begin));
        holds.published(100, begin + Duration::from_micros(30));
        assert_eq!((holds.times().count(), holds.oldest()), (100, None));
        assert!(holds.earlier.is_empty() && holds.back.is_empty());
    }

    #[test]
    fn full_refill_ring_prolongs_the_hold() {
        let mut holds = HoldTimes::new();
        let begin = Instant::now();
        holds.begin_batch(begin);
        for _ in 0..3 {
            let batch = holds.delivered();
            holds.given_back(batch);
        }
        holds.published(1, begin);
        holds.begin_batch(begin + Duration::from_secs(1));
        assert_eq!(holds.oldest(), Some(begin));
        holds.published(2, begin + Duration::from_secs(2));
        let slow = holds.times().cumulative(&MICROSECONDS).filter(|(_, count)| *count == 3).count();
        assert_eq!(slow, 2, "two of three took two seconds: only the buckets to 5 s and 30 s hold all");
        assert_eq!(holds.oldest(), None);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Batch(u64),
        Deliver,
        GiveBack(usize),
        Publish(u32),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..3_u64).prop_map(Act::Batch),
            Just(Act::Deliver),
            any::<usize>().prop_map(Act::GiveBack),
            (0..4_u32).prop_map(Act::Publish),
        ]
    }

    proptest! {
        /// Against a model that remembers each buffer by itself.
        #[test]
        fn oldest_buffer_is_always_known(acts in prop::collection::vec(act(), 0..200)) {
            let mut now = Instant::now();
            let mut holds = HoldTimes::new();
            let (mut out, mut back, mut done) = (Vec::new(), VecDeque::new(), 0);
            holds.begin_batch(now);
            for act in acts {
                match act {
                    Act::Batch(later) => {
                        now += Duration::from_millis(later);
                        holds.begin_batch(now);
                    }
                    Act::Deliver => out.push((holds.delivered(), now)),
                    Act::GiveBack(which) if !out.is_empty() => {
                        let (batch, reaped) = out.swap_remove(which % out.len());
                        holds.given_back(batch);
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
                let oldest = out.iter().map(|(_, reaped)| reaped).chain(&back).min();
                prop_assert_eq!(holds.oldest(), oldest.copied());
                prop_assert_eq!(holds.times().count(), done);
                prop_assert!(holds.earlier.len() <= out.len() + back.len());
            }
        }
    }
}
