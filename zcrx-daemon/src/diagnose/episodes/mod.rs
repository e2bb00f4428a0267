//! Follows one queue, sample by sample, and makes episodes of its alarms.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Change, Facts};
use super::thresholds::{CALM, SETTLING};
use super::{Diagnosis, diagnose};
use crate::model::{Alarm, Cause, Episode, QueueSample, Window};

/// What became of a sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An episode has begun.
    Began(Episode),
    /// The episode goes on, and its cause is another than was thought.
    Reconsidered(Episode),
    /// It has ended.
    Ended(Episode),
}

/// What was counted since the tracker was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Episodes begun.
    pub begun: u64,
    /// Episodes ended, by cause; `None` is an unknown cause. An open episode's cause may still be reconsidered, and a
    /// counter must not go back: hence it is counted at the end.
    pub ended: BTreeMap<Option<Cause>, u64>,
    /// Time in ended episodes.
    pub starved: Duration,
    /// Allocations that failed outside episodes, and healed by themselves.
    pub healed_failures: u64,
}

/// One queue's past: its window, its open episode, its tally.
pub struct Tracker {
    window: Window,
    open: Option<Open>,
    tally: Tally,
}

/// What is counted during an episode.
#[derive(Clone, Copy)]
struct Meanwhile {
    failures: Option<u64>,
    bytes: Option<u64>,
    drops: Option<u64>,
}

impl Meanwhile {
    const NOTHING: Self = Self { failures: Some(0), bytes: Some(0), drops: Some(0) };

    const fn of(change: &Change) -> Self {
        Self { failures: change.failures, bytes: change.bytes, drops: change.drops }
    }

    fn plus(self, other: Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Self {
            failures: sum(self.failures, other.failures),
            bytes: sum(self.bytes, other.bytes),
            drops: sum(self.drops, other.drops),
        }
    }
}

struct Open {
    episode: Episode,
    last_alarm: Duration,
    /// Counted up to the last alarm, and since: a calm end does not belong to the episode.
    counted: Meanwhile,
    since: Meanwhile,
}

impl Open {
    fn begin(alarm: &Alarm, diagnosis: Diagnosis, window: &Window, now: &QueueSample) -> Self {
        let counted = window
            .steps()
            .filter(|(_, later)| later.at > alarm.since)
            .map(|(earlier, later)| Meanwhile::of(&Change::between(earlier, later)))
            .fold(Meanwhile::NOTHING, Meanwhile::plus);
        let mut open = Self {
            episode: Episode {
                key: now.key.clone(),
                generation: now.generation,
                owner: now.owner.clone(),
                began: alarm.since,
                noticed: now.at,
                ended: None,
                trouble: alarm.trouble,
                diagnosis,
                failed_allocations: None,
                bytes: None,
                drops: None,
            },
            last_alarm: alarm.last,
            counted,
            since: Meanwhile::NOTHING,
        };
        open.tell();
        open
    }

    /// Writes what was counted into the episode.
    const fn tell(&mut self) {
        self.episode.failed_allocations = self.counted.failures;
        self.episode.bytes = self.counted.bytes;
        self.episode.drops = self.counted.drops;
    }

    /// The trouble goes on; the answer is whether another cause is now thought of.
    fn go_on(&mut self, last: Duration, diagnosis: Diagnosis, now: Duration) -> bool {
        self.last_alarm = last;
        self.counted = self.counted.plus(std::mem::replace(&mut self.since, Meanwhile::NOTHING));
        self.tell();
        let before = self.episode.cause();
        let young = now.saturating_sub(self.episode.noticed) < SETTLING;
        let better = match (self.episode.diagnosis.cause(), diagnosis.cause()) {
            (_, None) => false,
            (None, Some(_)) => true,
            // A leak whose buffers come back was none, however late they do.
            (Some(old), Some(new))
                if (old.cause, new.cause) == (Cause::NeverReturned, Cause::SlowConsumer) =>
            {
                new.confidence >= old.confidence
            }
            (Some(old), Some(new)) if young => new.cause == old.cause || new.confidence >= old.confidence,
            // The same cause, seen as clearly as before, is told with the figures of now.
            (Some(old), Some(new)) if new.cause == old.cause => new.confidence >= old.confidence,
            (Some(old), Some(new)) => new.confidence > old.confidence,
        };
        if better {
            self.episode.diagnosis = diagnosis;
        }
        self.episode.cause() != before
    }

    fn end(mut self) -> Episode {
        self.episode.ended = Some(self.last_alarm.max(self.episode.began));
        self.episode
    }
}

impl Tracker {
    /// A tracker that remembers so many samples.
    pub fn new(samples: usize) -> Self {
        Self { window: Window::new(samples), open: None, tally: Tally::default() }
    }

    /// The last samples.
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// The episode that lasts.
    pub fn open(&self) -> Option<&Episode> {
        self.open.as_ref().map(|open| &open.episode)
    }

    /// What was counted so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Takes a sample in; what it changes is the answer.
    pub fn feed(&mut self, sample: QueueSample) -> Vec<Event> {
        let mut events = Vec::new();
        let before = self.window.last();
        if before.is_some_and(|last| last.key != sample.key || last.generation != sample.generation) {
            events.extend(self.end());
        }
        let change = self.window.last().map_or_else(Change::default, |last| Change::between(last, &sample));
        let now = sample.at;
        self.window.push(sample);

        let diagnosis = diagnose(&self.window);
        let trouble = diagnosis.alarms.first().cloned();
        let Some(open) = &mut self.open else {
            self.tally.healed_failures += change.failures.unwrap_or(0);
            if let (Some(alarm), Some(sample)) = (trouble, self.window.last()) {
                let open = Open::begin(&alarm, diagnosis, &self.window, sample);
                let failures = open.episode.failed_allocations.unwrap_or(0);
                self.tally.healed_failures = self.tally.healed_failures.saturating_sub(failures);
                self.tally.begun += 1;
                events.push(Event::Began(open.episode.clone()));
                self.open = Some(open);
            }
            return events;
        };

        open.since = open.since.plus(Meanwhile::of(&change));
        let last = trouble.map(|alarm| alarm.last).or_else(|| still_starving(&self.window, open.last_alarm));
        if let Some(last) = last {
            if open.go_on(last, diagnosis, now) {
                events.push(Event::Reconsidered(open.episode.clone()));
            }
        } else if now.saturating_sub(open.last_alarm) >= CALM {
            events.extend(self.end());
        }
        events
    }

    /// The queue is gone, or nobody looks any more: ends the open episode.
    pub fn end(&mut self) -> Option<Event> {
        let episode = self.open.take()?.end();
        *self.tally.ended.entry(episode.cause()).or_default() += 1;
        self.tally.starved += episode.lasted(episode.began);
        Some(Event::Ended(episode))
    }
}

/// A queue whose last allocation failed before the last alarm, and that had no success since, starves still, though
/// nobody sends any more.
fn still_starving(window: &Window, last_alarm: Duration) -> Option<Duration> {
    let facts = Facts::of(window)?;
    facts.starving_since().filter(|&since| since <= last_alarm).map(|_| facts.now.at)
}
