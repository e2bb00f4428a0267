//! Follows all queues of a host at once.

use std::collections::{BTreeMap, BTreeSet};

use super::episodes::{Event, Tracker};
use crate::model::{QueueKey, QueueSample};

/// One generation of one queue.
pub type Life = (QueueKey, u64);

/// What a sample of all queues changed.
#[derive(Default)]
pub struct Changes {
    /// Queues of which there is no sample any more: each with the event that ends its episode, if one lasted.
    ended: Vec<(Life, Tracker, Option<Event>)>,
    /// Events of the queues that are there, if there are any.
    events: BTreeMap<Life, Vec<Event>>,
}

impl Changes {
    /// Passes on every queue with its events, those that ended first. `watch` is the one that returned the changes.
    pub fn tell(&self, watch: &Watch, mut tell: impl FnMut(&Life, &Tracker, &[Event])) {
        for (life, tracker, event) in &self.ended {
            tell(life, tracker, event.as_slice());
        }
        for (life, tracker) in watch.trackers() {
            tell(life, tracker, self.events.get(life).map(Vec::as_slice).unwrap_or_default());
        }
    }

    /// Every event with its queue.
    pub(super) fn events(&self) -> impl Iterator<Item = (&Life, &Event)> {
        let ended =
            self.ended.iter().flat_map(|(life, _, event)| event.iter().map(move |event| (life, event)));
        ended.chain(
            self.events.iter().flat_map(|(life, events)| events.iter().map(move |event| (life, event))),
        )
    }
}

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

    /// Adds one sample of each existing queue, and returns what that changed. A queue of which there is no sample any more has ended:
    /// its episode ends with a last event, and its history is dropped with the answer.
    pub fn feed(&mut self, samples: Vec<QueueSample>) -> Changes {
        let lives: Vec<Life> = samples.iter().map(|sample| (sample.key.clone(), sample.generation)).collect();
        self.rename(&lives);
        let mut changes = Changes::default();
        let there: BTreeSet<&Life> = lives.iter().collect();
        for (life, mut tracker) in self.trackers.extract_if(.., |life, _| !there.contains(life)) {
            let ended = tracker.end();
            changes.ended.push((life, tracker, ended));
        }
        drop(there);
        for (life, sample) in lives.into_iter().zip(samples) {
            let tracker = match self.trackers.get_mut(&life) {
                Some(tracker) => tracker,
                None => self.trackers.entry(life.clone()).or_insert_with(|| Tracker::new(self.samples)),
            };
            let events = tracker.feed(sample);
            if !events.is_empty() {
                changes.events.entry(life).or_default().extend(events);
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::diagnose::queue_model::Queue;
    use crate::model::Cause;

    fn events(watch: &mut Watch, samples: Vec<QueueSample>) -> Vec<Event> {
        watch.feed(samples).events().map(|(_, event)| event.clone()).collect()
    }

    #[test]
    fn a_queue_that_goes_ends_its_episode_and_is_forgotten() {
        let mut watch = Watch::new(120);
        let mut told = Vec::new();
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        queue.run_with(8, |sample| told.extend(events(&mut watch, vec![sample])));
        assert!(matches!(told.as_slice(), [Event::Began(_)]), "{told:#?}");
        told.extend(events(&mut watch, Vec::new()));
        let [_, Event::Ended(episode)] = told.as_slice() else { panic!("{told:#?}") };
        assert_eq!(episode.cause(), Some(Cause::NeverReturned));
        assert_eq!(watch.trackers().count(), 0);
    }

    #[test]
    fn queue_of_a_renamed_interface_keeps_its_episode_and_its_history() {
        let mut watch = Watch::new(120);
        let mut told = Vec::new();
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        queue.run_with(8, |sample| told.extend(events(&mut watch, vec![sample])));
        queue.run_with(8, |mut sample| {
            sample.key.interface = Some("lan0".to_owned());
            told.extend(events(&mut watch, vec![sample]));
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
        watch.feed(vec![sample(1, 1, 1), sample(2, 2, 1)]);
        watch.feed(vec![sample(1, 1, 2), sample(2, 3, 2)]);
        let lengths: Vec<_> =
            watch.trackers().map(|(life, tracker)| (life.1, tracker.window().samples().len())).collect();
        assert_eq!(lengths, [(1, 2), (3, 1)]);
    }
}
