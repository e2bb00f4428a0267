//! Follows all queues of a host at once.

use std::collections::{BTreeMap, BTreeSet};

use super::episodes::{Event, Tracker};
use super::facts::Facts;
use crate::model::{Diagnosis, Episode, QueueKey, QueueSample};

/// One generation of one queue.
pub type Life = (QueueKey, u64);

/// A tracker for each queue that is there.
pub struct Watch {
    samples: usize,
    trackers: BTreeMap<Life, Tracker>,
}

impl Watch {
    /// A watch that remembers so many samples of each queue.
    pub const fn new(samples: usize) -> Self {
        Self { samples, trackers: BTreeMap::new() }
    }

    /// The queues that were there the last time.
    pub fn trackers(&self) -> impl Iterator<Item = (&Life, &Tracker)> {
        self.trackers.iter()
    }

    /// Whether the queue was there the last time, under this name.
    pub fn follows(&self, life: &Life) -> bool {
        self.trackers.contains_key(life)
    }

    /// Follows queues whose interface got another name: their generation stays.
    fn rename(&mut self, lives: &[Life]) {
        for life in lives {
            // Almost always all are known: only for a new one the list is searched.
            if self.follows(life) {
                continue;
            }
            let before = self.trackers.keys().find(|old| old.1 == life.1 && !lives.contains(old)).cloned();
            if let Some(before) = before
                && let Some(mut tracker) = self.trackers.remove(&before)
            {
                tracker.rename(&life.0);
                self.trackers.insert(life.clone(), tracker);
            }
        }
    }

    /// Adds one sample of each existing queue and passes its events with its tracker. A queue of which there
    /// is no sample any more has ended: its episode ends with a last event, and its history is dropped.
    pub fn feed(&mut self, samples: Vec<QueueSample>, tell: impl FnMut(&Life, &Tracker, &[Event])) {
        self.feed_and(samples, tell, |_, _, _, _| {});
    }

    /// Like [`Self::feed`], and passes on the facts of each sample, as [`Tracker::feed_and`] does.
    pub(super) fn feed_and(
        &mut self,
        samples: Vec<QueueSample>,
        mut tell: impl FnMut(&Life, &Tracker, &[Event]),
        mut show: impl FnMut(&Life, &Facts<'_>, &Diagnosis, Option<&Episode>),
    ) {
        let lives: Vec<Life> = samples.iter().map(|sample| (sample.key.clone(), sample.generation)).collect();
        self.rename(&lives);
        let there: BTreeSet<&Life> = lives.iter().collect();
        self.trackers.retain(|life, tracker| {
            if there.contains(life) {
                return true;
            }
            let ended = tracker.end();
            tell(life, tracker, ended.as_slice());
            false
        });
        drop(there);
        for (life, sample) in lives.into_iter().zip(samples) {
            let tracker = self.trackers.entry(life.clone()).or_insert_with(|| Tracker::new(self.samples));
            let events =
                tracker.feed_and(sample, |facts, diagnosis, open| show(&life, facts, diagnosis, open));
            tell(&life, tracker, &events);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnose::queue_model::Queue;
    use crate::model::Cause;

    #[test]
    fn a_queue_that_goes_ends_its_episode_and_is_forgotten() {
        let mut watch = Watch::new(120);
        let mut told = Vec::new();
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        queue.run_with(8, |sample| watch.feed(vec![sample], |_, _, events| told.extend_from_slice(events)));
        assert!(matches!(told.as_slice(), [Event::Began(_)]), "{told:#?}");
        watch.feed(Vec::new(), |_, _, events| told.extend_from_slice(events));
        let [_, Event::Ended(episode)] = told.as_slice() else { panic!("{told:#?}") };
        assert_eq!(episode.cause(), Some(Cause::NeverReturned));
        assert_eq!(watch.trackers().count(), 0);
    }

    #[test]
    fn queue_of_a_renamed_interface_keeps_its_episode_and_its_history() {
        let mut watch = Watch::new(120);
        let mut told = Vec::new();
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        queue.run_with(8, |sample| watch.feed(vec![sample], |_, _, events| told.extend_from_slice(events)));
        queue.run_with(8, |mut sample| {
            sample.key.interface = Some("lan0".to_owned());
            watch.feed(vec![sample], |_, _, events| told.extend_from_slice(events));
        });
        assert!(matches!(told.as_slice(), [Event::Began(_)]), "{told:#?}");
        let [(life, tracker)] = watch.trackers().collect::<Vec<_>>()[..] else { panic!("one queue") };
        let key = tracker.open().map(|episode| episode.key.to_string());
        assert_eq!((life.0.to_string(), key), ("lan0:3".to_owned(), Some("lan0:3".to_owned())));
        assert_eq!(tracker.window().samples().len(), 33);
    }

    #[test]
    fn two_lives_and_two_queues_are_followed_apart() {
        let sample = |queue, generation, second| {
            let key = QueueKey { interface: Some("eth0".to_owned()), queue };
            QueueSample::unknown(key, generation, Duration::from_secs(second))
        };
        let mut watch = Watch::new(120);
        watch.feed(vec![sample(1, 1, 1), sample(2, 2, 1)], |_, _, _| {});
        watch.feed(vec![sample(1, 1, 2), sample(2, 3, 2)], |_, _, _| {});
        let lengths: Vec<_> =
            watch.trackers().map(|(life, tracker)| (life.1, tracker.window().samples().len())).collect();
        assert_eq!(lengths, [(1, 2), (3, 1)]);
    }
}
