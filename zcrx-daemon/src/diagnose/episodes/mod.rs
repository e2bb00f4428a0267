//! Follows one queue, sample by sample, and makes episodes of its alarms.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use super::facts::{Change, Facts, none, some};
use super::history::History;
use super::thresholds::{CALM, CALM_AFTER_EVENTS};
use super::{Diagnosis, judge};
use crate::model::{Alarm, Cause, CauseChange, Confidence, Episode, QueueKey, QueueSample, Trouble, Window};

/// Result of a sample.
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

/// One queue's past: its history, its open episode, its tally.
pub struct Tracker {
    history: History,
    open: Option<Open>,
    tally: Tally,
    diagnosis: Diagnosis,
    /// Since when each problem lasts, and when it was last seen.
    since: BTreeMap<Trouble, (Duration, Duration)>,
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
    /// Another cause that came first in the last sample: it must do so twice.
    rival: Option<Cause>,
    /// The episode is over after this much time without an alarm.
    calm: Duration,
}

/// Changes of the cause that an episode remembers.
const MOST_CHANGES: usize = 32;

impl Open {
    fn begin(alarm: &Alarm, diagnosis: Diagnosis, history: &History, now: &QueueSample) -> Self {
        let counted = history
            .steps()
            .iter()
            .skip(1)
            .filter(|step| step.at > alarm.since)
            .map(|step| Meanwhile::of(&step.change))
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
                history: Vec::new(),
            },
            last_alarm: alarm.last,
            counted,
            since: Meanwhile::NOTHING,
            rival: None,
            calm: calm(alarm.trouble),
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

    /// The problem goes on. The episode's cause is that of now; it changes for a stated reason only, and the answer is
    /// whether it did.
    fn go_on(&mut self, last: Duration, diagnosis: Option<Diagnosis>, idle: bool, now: Duration) -> bool {
        // Problems that come in moments are over when the next moment is overdue.
        let gap = last.saturating_sub(self.last_alarm);
        self.calm = self.calm.max((gap * 3).min(CALM_AFTER_EVENTS));
        self.last_alarm = last;
        self.counted = self.counted.plus(std::mem::replace(&mut self.since, Meanwhile::NOTHING));
        self.tell();
        let Some(diagnosis) = diagnosis else { return false };
        let (old, new) = (self.episode.diagnosis.cause(), diagnosis.cause());
        let why = match (old, new) {
            // A window that shows nothing any more does not take back what it showed.
            (_, None) => return false,
            (None, Some(_)) => Some("its figures were not known before"),
            (Some(old), Some(new)) if new.cause == old.cause => None,
            // What an owner does with its entries shows only while it returns some.
            (Some(old), Some(new))
                if idle
                    && shows_in_motion(old.cause)
                    && !shows_in_motion(new.cause)
                    && new.cause != Cause::LazyConsumption =>
            {
                return false;
            }
            // A leak whose buffers come back was none.
            (Some(old), Some(new))
                if (old.cause, new.cause) == (Cause::NeverReturned, Cause::SlowConsumer)
                    && new.confidence >= old.confidence =>
            {
                Some("buffers came back")
            }
            (Some(old), Some(new)) if new.confidence > old.confidence => Some("it is surer"),
            (Some(old), Some(new)) if doubted(&diagnosis, old.cause, new.confidence) => {
                Some("the other is less sure now")
            }
            (Some(old), Some(new)) if self.rival == Some(new.cause) => {
                // Twice in a row, and the first one is no longer as sure as it was.
                let still = diagnosis.causes.iter().find(|finding| finding.cause == old.cause);
                Some(if still.is_some() { "it explains more" } else { "the signature of the other is gone" })
            }
            (Some(_), Some(new)) => {
                self.rival = Some(new.cause);
                return false;
            }
        };
        self.rival = None;
        if let (Some(why), Some(new)) = (why, new) {
            let from = old.map(|finding| finding.cause);
            if self.episode.history.len() < MOST_CHANGES {
                self.episode.history.push(CauseChange { at: now, from, to: new.cause, why: why.to_owned() });
            }
        }
        self.episode.trouble = diagnosis.alarms.first().map_or(self.episode.trouble, |alarm| alarm.trouble);
        self.episode.diagnosis = diagnosis;
        why.is_some()
    }

    fn end(mut self) -> Episode {
        self.episode.ended = Some(self.last_alarm.max(self.episode.began));
        self.episode
    }
}

/// For how long there must be no alarm until the episode is over. Some problems show by single events, seconds apart.
const fn calm(trouble: Trouble) -> Duration {
    match trouble {
        Trouble::Missteered => CALM_AFTER_EVENTS,
        _ => CALM,
    }
}

/// Whether a cause still fits, but with less confidence than that.
fn doubted(diagnosis: &Diagnosis, cause: Cause, confidence: Confidence) -> bool {
    diagnosis.causes.iter().any(|finding| finding.cause == cause && finding.confidence < confidence)
}

/// Whether the signature of a cause needs entries to be returned: once all buffers are lost, nothing shows it any more.
const fn shows_in_motion(cause: Cause) -> bool {
    matches!(cause, Cause::RefillRingFull | Cause::BadEntries | Cause::FragmentPinning)
}

impl Tracker {
    /// A tracker that remembers so many samples.
    pub fn new(samples: usize) -> Self {
        Self {
            history: History::new(samples),
            open: None,
            tally: Tally::default(),
            diagnosis: Diagnosis::default(),
            since: BTreeMap::new(),
        }
    }

    /// The last samples.
    pub const fn window(&self) -> &Window {
        self.history.window()
    }

    /// The last samples, what each shows, and what is kept for longer.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// What the newest sample says.
    pub const fn diagnosis(&self) -> &Diagnosis {
        &self.diagnosis
    }

    /// The episode that lasts.
    pub fn open(&self) -> Option<&Episode> {
        self.open.as_ref().map(|open| &open.episode)
    }

    /// What was counted so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Gives its queue another name: that of its interface changed, and nothing else of it.
    pub fn rename(&mut self, key: &QueueKey) {
        self.history.rename(key);
        if let Some(open) = &mut self.open {
            open.episode.key.clone_from(key);
        }
    }

    /// Takes a sample in; what it changes is the answer.
    pub fn feed(&mut self, sample: QueueSample) -> Vec<Event> {
        let mut events = Vec::new();
        let before = self.window().last();
        if before.is_some_and(|last| last.key != sample.key || last.generation != sample.generation) {
            events.extend(self.end());
            self.since.clear();
        }
        let now = sample.at;
        let older = self.window().last().is_some_and(|last| last.key == sample.key && now <= last.at);
        if older {
            return events;
        }
        self.history.push(sample);
        let Some(facts) = Facts::of(&self.history) else { return events };
        let change = facts.history.steps().back().map_or_else(Change::default, |step| step.change);
        let mut diagnosis = judge(&facts);
        // A window forgets when a problem began; the tracker does not.
        self.since.retain(|_, (_, last)| now.saturating_sub(*last) <= CALM_AFTER_EVENTS);
        for alarm in &mut diagnosis.alarms {
            let (since, last) = self.since.entry(alarm.trouble).or_insert((alarm.since, alarm.last));
            *since = (*since).min(alarm.since);
            *last = alarm.last;
            alarm.since = *since;
        }
        self.diagnosis = diagnosis.clone();
        let alarm = diagnosis.alarms.first().cloned();
        let idle = none(facts.recent.returned) && !some(facts.recent.consumed);
        let still = still_starving(&facts, self.open.as_ref().map(|open| open.last_alarm));
        if let Some(open) = &mut self.open {
            open.since = open.since.plus(Meanwhile::of(&change));
            let alarmed = alarm.is_some();
            if let Some(last) = alarm.map(|alarm| alarm.last).or(still) {
                if open.go_on(last, alarmed.then_some(diagnosis), idle, now) {
                    events.push(Event::Reconsidered(open.episode.clone()));
                }
            } else if now.saturating_sub(open.last_alarm) >= open.calm {
                events.extend(end(&mut self.open, &mut self.tally));
            }
        } else {
            self.tally.healed_failures += change.failures.unwrap_or(0);
            if let Some(alarm) = alarm {
                let open = Open::begin(&alarm, diagnosis, &self.history, facts.now);
                let failures = open.episode.failed_allocations.unwrap_or(0);
                self.tally.healed_failures = self.tally.healed_failures.saturating_sub(failures);
                self.tally.begun += 1;
                events.push(Event::Began(open.episode.clone()));
                self.open = Some(open);
            }
        }
        events
    }

    /// The queue is gone, or nothing samples it any more: ends the open episode.
    pub fn end(&mut self) -> Option<Event> {
        end(&mut self.open, &mut self.tally)
    }
}

/// Ends the open episode, and counts it.
fn end(open: &mut Option<Open>, tally: &mut Tally) -> Option<Event> {
    let episode = open.take()?.end();
    *tally.ended.entry(episode.cause()).or_default() += 1;
    tally.starved += episode.lasted(episode.began);
    Some(Event::Ended(episode))
}

/// A queue whose last allocation failed before the last alarm, and that had no success since, still starves, even if no data
/// arrives any more.
fn still_starving(facts: &Facts<'_>, last_alarm: Option<Duration>) -> Option<Duration> {
    let last_alarm = last_alarm?;
    let posted = facts.nothing_posted() == Some(false);
    facts.starving_since().filter(|&since| since <= last_alarm && !posted).map(|_| facts.now.at)
}
