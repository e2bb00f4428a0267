//! Situations in which a verdict was wrong once, each with its right answer. Every test describes what the queue, its owner and
//! its host do; the queue model plays it.

mod entries;
mod episode;
mod host;
mod leak;
mod outlook;
mod owner;
mod starvation;
mod varied;

use super::episodes::{Event, Tracker};
use super::forecast::{Answer, Forecast, Starvation};
use super::queue_model::Queue;
use super::report::Report;
use crate::model::{Cause, Confidence, Diagnosis, Episode, QueueSample, Trouble};

/// What a sample is changed by before the tracker sees it, for what the model does not play.
type Alter = fn(&mut QueueSample);

/// A queue that is followed, and what was reported of it.
struct Scene {
    queue: Queue,
    tracker: Tracker,
    events: Vec<Event>,
    /// The first line of each sample's verdict.
    lines: Vec<String>,
    /// The first cause at each sample; `None` without an episode.
    causes: Vec<Option<Cause>>,
    alter: Alter,
}

impl Scene {
    fn new(queue: Queue) -> Self {
        Self {
            queue,
            tracker: Tracker::new(60),
            events: Vec::new(),
            lines: Vec::new(),
            causes: Vec::new(),
            alter: |_| {},
        }
    }

    fn altered(queue: Queue, alter: Alter) -> Self {
        Self { alter, ..Self::new(queue) }
    }

    /// Lets so many seconds pass.
    fn run(&mut self, seconds: u64) -> &mut Self {
        let Self { queue, tracker, events, lines, causes, alter } = self;
        queue.run_with(seconds, |mut sample| {
            alter(&mut sample);
            events.extend(tracker.feed(sample));
            causes.push(tracker.open().and_then(Episode::cause));
            if let Some(report) = Report::of_tracker(tracker) {
                lines.push(report.verdict.line);
            }
        });
        self
    }

    /// Changes the queue, its load or its owner.
    fn then(&mut self, change: impl FnOnce(&mut Queue)) -> &mut Self {
        change(&mut self.queue);
        self
    }

    fn report(&self) -> Report {
        Report::of_tracker(&self.tracker).expect("samples")
    }

    fn diagnosis(&self) -> &Diagnosis {
        self.tracker.diagnosis()
    }

    fn forecast(&self) -> Forecast {
        self.report().forecast
    }

    /// The cause that the open episode names first.
    #[track_caller]
    fn names(&self, cause: Cause) -> Confidence {
        let Some(open) = self.tracker.open() else { panic!("no episode: {:#?}", self.diagnosis()) };
        let first = open.diagnosis.cause().unwrap_or_else(|| panic!("no cause: {open:#?}"));
        assert_eq!(first.cause, cause, "{open:#?}");
        first.confidence
    }

    /// Everything that the verdict prints of its causes.
    fn words(&self) -> String {
        let mut text = String::new();
        super::write_report(&mut text, &self.report(), &|_| None).expect("a String takes everything");
        text
    }

    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.words().contains(words), "{words:?} is missing in:\n{}", self.words());
    }

    /// Nothing was wrong at any time.
    #[track_caller]
    fn is_calm(&self) {
        assert!(self.events.is_empty(), "{:#?}", self.events);
        assert!(self.lines.iter().all(|line| line.starts_with("OK")), "{:#?}", self.lines);
    }

    fn episodes(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Began(_))).count()
    }

    fn has_alarm(&self, trouble: Trouble) -> bool {
        self.diagnosis().alarms.iter().any(|alarm| alarm.trouble == trouble)
    }

    /// Whether the starvation was foretold at any time so far.
    fn foretold(&self) -> bool {
        matches!(self.forecast().starvation, Answer::Known(Starvation::In(_)))
            || self.lines.iter().any(|line| line.contains("starves in"))
    }
}

/// A healthy queue whose sockets take whatever arrives.
fn unbounded() -> Queue {
    Queue { socket_limit: 100_000, ..Queue::default() }
}
