//! Diagnosis of all queues of a host, and counts of past episodes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::episodes::{Event, Tracker};
use super::report::{Outlook, Report};
use super::watch::{Changes, Watch};
use crate::model::{Cause, Episode, QueueKey, QueueSample, Trouble};

/// Time for which a queue's count of episodes stays after the queue is gone: otherwise no scrape would show an episode that
/// ends with its queue.
const REMEMBERED: Duration = Duration::from_mins(5);

/// Largest number of kept past episodes of the host.
const RECENT_EPISODES: usize = 20;

/// Diagnosis of a host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostDiagnosis {
    /// Time of the sample, CLOCK_MONOTONIC; `None` before the first sample.
    pub at: Option<Duration>,
    /// Reports of all queues.
    pub queues: Vec<Report>,
    /// The last past episodes, newest last, bounded.
    pub recent: Vec<Episode>,
}

impl HostDiagnosis {
    /// Whether any queue has a problem now.
    pub fn troubled(&self) -> bool {
        self.queues.iter().any(Report::troubled)
    }
}

/// The diagnosis of a host in figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostOutlook {
    /// Time of the sample, CLOCK_MONOTONIC; `None` before the first sample.
    pub at: Option<Duration>,
    /// Each queue.
    pub queues: Vec<Outlook>,
    /// Counts of each queue, and of queues that ended a few minutes ago.
    pub past: Vec<Past>,
}

/// Episodes of all generations of a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Past {
    /// Name of the queue.
    pub key: QueueKey,
    /// Past episodes by their last first cause; `None` is an unknown cause.
    pub ended: BTreeMap<Option<Cause>, u64>,
    /// Duration of past episodes.
    pub starved: Duration,
    /// Time with each alarm, the current ones included.
    pub alarmed: BTreeMap<Trouble, Duration>,
    /// Time of the current episode with an alarm; zero without an episode.
    current: Duration,
    /// Time up to which alarms have been counted.
    counted: BTreeMap<Trouble, Duration>,
    last_seen: Duration,
}

impl Past {
    /// Creates empty counts.
    pub const fn new(key: QueueKey, now: Duration) -> Self {
        Self {
            key,
            ended: BTreeMap::new(),
            starved: Duration::ZERO,
            alarmed: BTreeMap::new(),
            current: Duration::ZERO,
            counted: BTreeMap::new(),
            last_seen: now,
        }
    }

    /// Time in episodes, the current one included. Never decreases.
    pub fn in_episodes(&self) -> Duration {
        self.starved + self.current
    }

    fn count(&mut self, episode: &Episode, now: Duration) {
        *self.ended.entry(episode.cause()).or_default() += 1;
        // An episode ends with its last alarm, which may be earlier than time that was already counted.
        self.starved += episode.lasted(now).max(self.current);
        self.current = Duration::ZERO;
    }

    /// Adds the time since the last sample.
    fn follow(&mut self, tracker: &Tracker, at: Duration) {
        let alarms = &tracker.diagnosis().alarms;
        for alarm in alarms {
            // From the begin of the alarm; no time counts twice.
            let counted = self.counted.insert(alarm.trouble, at).unwrap_or_default();
            let time = at.saturating_sub(alarm.since.max(counted));
            *self.alarmed.entry(alarm.trouble).or_default() += time;
        }
        if let (Some(episode), false) = (tracker.open(), alarms.is_empty()) {
            self.current = self.current.max(at.saturating_sub(episode.began));
        }
        self.last_seen = at;
    }
}

/// Follows all queues of a host, and remembers past episodes. Reports are made on request:
/// samples are more frequent than questions.
pub struct HostWatch {
    at: Option<Duration>,
    watch: Watch,
    past: BTreeMap<QueueKey, Past>,
    recent: VecDeque<Episode>,
}

impl HostWatch {
    /// Creates a watch that remembers a number of samples of each queue.
    pub const fn new(samples: usize) -> Self {
        Self { at: None, watch: Watch::new(samples), past: BTreeMap::new(), recent: VecDeque::new() }
    }

    /// Adds one sample of each queue, as [`Watch::feed`] does.
    pub fn feed(&mut self, now: Duration, samples: Vec<QueueSample>) -> Changes {
        for sample in &samples {
            self.expect(sample, &samples, now);
        }
        let changes = self.watch.feed(samples);
        for (life, event) in changes.events() {
            let Event::Ended(episode) = event else { continue };
            let past = self.past.entry(life.0.clone());
            past.or_insert_with(|| Past::new(life.0.clone(), now)).count(episode, now);
            if self.recent.len() == RECENT_EPISODES {
                self.recent.pop_front();
            }
            self.recent.push_back(episode.clone());
        }
        for (life, tracker) in self.watch.trackers() {
            if let Some((past, last)) = self.past.get_mut(&life.0).zip(tracker.window().last()) {
                past.follow(tracker, last.at);
            }
        }
        self.past.retain(|_, past| now.saturating_sub(past.last_seen) <= REMEMBERED);
        self.at = Some(now);
        changes
    }

    /// Makes room for the counts of a queue, if it is new. Those of a renamed queue continue under its new name.
    fn expect(&mut self, sample: &QueueSample, samples: &[QueueSample], now: Duration) {
        if self.watch.follows(&(sample.key.clone(), sample.generation)) {
            return;
        }
        let before =
            self.watch.trackers().find(|(life, _)| life.1 == sample.generation && life.0 != sample.key);
        if let Some(before) = before.map(|(life, _)| life.0.clone())
            && samples.iter().all(|other| other.key != before)
            && let Some(past) = self.past.remove(&before)
        {
            self.past.insert(sample.key.clone(), Past { key: sample.key.clone(), ..past });
        }
        let past = self.past.entry(sample.key.clone());
        past.or_insert_with(|| Past::new(sample.key.clone(), now));
    }

    /// The queues that were there the last time.
    pub const fn queues(&self) -> &Watch {
        &self.watch
    }

    /// What there is to say now.
    pub fn diagnosis(&self) -> HostDiagnosis {
        HostDiagnosis {
            at: self.at,
            queues: self.watch.trackers().filter_map(|(_, tracker)| Report::of_tracker(tracker)).collect(),
            recent: self.recent.iter().cloned().collect(),
        }
    }

    /// The same in figures.
    pub fn outlook(&self) -> HostOutlook {
        HostOutlook {
            at: self.at,
            queues: self.watch.trackers().filter_map(|(_, tracker)| Outlook::of_tracker(tracker)).collect(),
            past: self.past.values().cloned().collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod fixture {
    //! A diagnosis in which every optional value is known.

    use super::*;
    use crate::diagnose::facts::Placement;
    use crate::diagnose::{
        Answer, CauseWords, Forecast, Rates, Sizes, Starvation, Trace, Urgency, Verdict, Vitals,
    };
    use crate::model::{Alarm, Confidence, Diagnosis, Finding};
    use crate::observe::fixture::foreign_queue;

    pub(crate) fn troubled() -> HostDiagnosis {
        let queue = foreign_queue();
        let began = Duration::from_millis(997_500);
        let finding = Finding {
            cause: Cause::SlowConsumer,
            confidence: Confidence::High,
            effect: 0.9,
            evidence: vec!["1 900 buffers are <held>".to_owned()],
            against: vec!["the sockets are not known".to_owned()],
            remedy: "copy out sooner".to_owned(),
        };
        let alarm = Alarm {
            trouble: Trouble::Starving,
            since: began,
            last: queue.at,
            words: "no allocation has succeeded for 2.5 s".to_owned(),
        };
        let diagnosis = Diagnosis { alarms: vec![alarm], causes: vec![finding], missing: Vec::new() };
        let episode = Episode {
            key: queue.key.clone(),
            generation: queue.generation,
            owner: queue.owner.clone(),
            began,
            noticed: queue.at,
            ended: None,
            trouble: Trouble::Starving,
            diagnosis: diagnosis.clone(),
            failed_allocations: Some(40),
            bytes: Some(0),
            drops: Some(7),
            history: Vec::new(),
        };
        let over = Episode { ended: Some(began), began: Duration::from_secs(990), ..episode.clone() };
        let sizes = Sizes {
            area_buffers: 4096,
            area_bytes: Some(16 << 20),
            refill_entries: 4096,
            at_least: false,
            observed: Duration::from_mins(1),
        };
        let verdict = Verdict {
            urgency: Urgency::Alarm,
            line: "STARVED 2 s: 512 of 2048 buffers free; 1900 held by <receiver>[4242]; 1.5 GB/s".to_owned(),
            causes: vec![CauseWords {
                cause: Cause::SlowConsumer,
                line: "Slow consumer (A), confidence high, 90 % of the problem".to_owned(),
                evidence: vec!["1 900 buffers are <held>".to_owned()],
                against: vec!["the sockets are not known".to_owned()],
            }],
            run: vec!["perf top -p 4242".to_owned()],
            change: Some("copy out sooner".to_owned()),
            ..Verdict::default()
        };
        let report = Report {
            rings: Vec::new(),
            napi: None,
            top_sockets: None,
            verdict,
            key: queue.key.clone(),
            owner: queue.owner.clone(),
            owner_cgroup: Some("/system.slice/<receiver>.service".to_owned()),
            at: queue.at,
            diagnosis,
            forecast: Forecast {
                starvation: Answer::Known(Starvation::In(Duration::from_secs(30))),
                starvation_range: None,
                headroom: Some(0.25),
                arrivals: Some(2000.0),
                returns: Some(1500.0),
                hold_time: Some(Duration::from_millis(12)),
                sizes: Answer::Known(sizes),
            },
            episode: Some(episode),
            vitals: Vitals {
                buffer_bytes: Some(4096),
                placement: Placement::of(&queue),
                oldest_held: Some(Duration::from_secs(3)),
                rates: Rates {
                    bytes: Some(1.5e9),
                    copied_bytes: Some(0.0),
                    failures: Some(12.0),
                    drops: Some(300.0),
                    returned: Some(1500.0),
                },
                trace: Trace {
                    span: Duration::from_secs(4),
                    available: vec![Some(80), Some(40), None, Some(5)],
                    bytes: vec![Some(2_000_000_000), Some(1_900_000_000), None, Some(0)],
                },
            },
        };
        HostDiagnosis { at: Some(queue.at), queues: vec![report], recent: vec![over] }
    }

    fn in_figures(Report { key, at, diagnosis, forecast, episode, .. }: Report) -> Outlook {
        Outlook { key, at, diagnosis, forecast, episode }
    }

    /// The same in figures.
    pub(crate) fn outlook() -> HostOutlook {
        let host = troubled();
        let queues: Vec<Outlook> = host.queues.into_iter().map(in_figures).collect();
        let past = queues.iter().map(|queue| {
            let mut past = Past::new(queue.key.clone(), queue.at);
            for over in &host.recent {
                past.count(over, queue.at);
            }
            past.alarmed.insert(Trouble::Starving, Duration::from_secs(10));
            past.current = Duration::from_millis(2_500);
            past
        });
        HostOutlook { at: host.at, past: past.collect(), queues }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::Queue;

    #[test]
    fn an_episode_that_ends_with_its_queue_is_counted_and_then_forgotten() {
        let mut watch = HostWatch::new(120);
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        let mut at = Duration::ZERO;
        queue.run_with(8, |sample| {
            at = sample.at;
            watch.feed(at, vec![sample]);
        });
        let last = watch.outlook();
        assert!(watch.diagnosis().troubled(), "{last:#?}");
        assert!(last.past[0].ended.is_empty(), "it lasts");
        assert!(last.past[0].in_episodes() > Duration::from_secs(1), "the current episode counts: {last:#?}");
        assert!(last.past[0].alarmed.values().any(|&time| time > Duration::from_secs(1)), "{last:#?}");
        watch.feed(at, Vec::new());
        let gone = watch.outlook();
        assert!(!watch.diagnosis().troubled());
        assert_eq!(gone.past[0].ended, BTreeMap::from([(Some(Cause::NeverReturned), 1)]));
        assert!(gone.past[0].in_episodes() >= last.past[0].in_episodes(), "no counter decreases at the end");
        assert_eq!(watch.diagnosis().recent.len(), 1);
        watch.feed(at + REMEMBERED + Duration::from_secs(1), Vec::new());
        assert_eq!((watch.outlook().past.len(), watch.diagnosis().recent.len()), (0, 1));
    }

    #[test]
    fn it_can_be_sent_and_read() -> Result<(), serde_json::Error> {
        let said = fixture::troubled();
        let text = serde_json::to_string(&said)?;
        assert_eq!(serde_json::from_str::<HostDiagnosis>(&text)?, said);
        Ok(())
    }
}
