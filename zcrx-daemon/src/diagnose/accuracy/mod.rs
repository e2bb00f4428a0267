//! How often a verdict is right: random situations of the queue model, judged by the model's ledger.
//!
//! The truth is what the model did and wrote down, never what a rule says. A situation counts only if its fault did harm
//! that the ledger shows.

mod figures;
mod harm;
mod healthy;
pub(super) mod random;
pub(super) mod situations;
mod sizes;
#[cfg(test)]
mod tests;
mod what_if;

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Tracker;
use super::queue_model::Queue;
use crate::model::{Cause, Confidence, Episode, Finding};
use harm::Harm;
use random::Random;
use situations::Situation;

pub use healthy::{Healthy, healthy_hours};
pub use sizes::{Advice, advice};
pub use what_if::{Tried, what_if};

/// Samples that the tracker remembers, as the daemon's does at one a second.
const WINDOW: usize = 60;

/// Samples after the data first allow it by which a verdict must be right.
const SAMPLES: usize = 3;

/// What came of all situations.
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    /// By what was done, what was said first in the end, `None` for nothing or unknown.
    pub confusion: BTreeMap<(Cause, Option<Cause>), u64>,
    /// Situations that did harm.
    pub cases: u64,
    /// Of these, those whose first cause was right in the end.
    pub first: u64,
    /// Of these, those in which one of the first two causes was right.
    pub second: u64,
    /// Verdicts in the end by confidence: how many, and how many right.
    pub calibration: BTreeMap<Confidence, (u64, u64)>,
    /// Samples until the verdict was right and stayed so, for the cases that were right in the end.
    pub samples: Vec<usize>,
    /// Right verdicts that came later than that, by what was done.
    pub late: BTreeMap<(Cause, &'static str), u64>,
    /// Alarms before anything was done.
    pub early: u64,
    /// Times that the first cause changed after it was right.
    pub flickers: u64,
    /// The wrong ones: the number of the situation, what was done and what was said.
    pub wrong: Vec<String>,
    /// Right verdicts that came late, with their number.
    pub late_cases: Vec<String>,
    /// Situations in which the ledger shows no harm that lasted.
    pub harmless: u64,
}

/// Runs situations; the same seed gives the same ones.
pub fn accuracy(cases: u64, seed: u64) -> Accuracy {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let parts: Vec<Accuracy> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut part = Accuracy::default();
                    for case in (worker..cases).step_by(threads as usize) {
                        part.run(case, seed);
                    }
                    part
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("a situation does not panic")).collect()
    });
    parts.into_iter().fold(Accuracy::default(), Accuracy::plus)
}

/// Writes one situation sample by sample, to explain its verdict.
pub fn explain(case: u64, seed: u64) -> String {
    let mut random = Random::new(seed, case);
    let situation = situations::faulty(&mut random);
    let mut text = format!("{situation:#?}\n");
    let mut observed = Observed::new(situation.healthy.clone(), random);
    let mut say = |queue: &Queue, tracker: &Tracker| {
        let Some(report) = super::Report::of_tracker(tracker) else { return };
        let _: std::fmt::Result =
            writeln!(text, "lost {} ms {}", queue.ledger().packets_lost, queue.ledger().losing_ms);
        let _: std::fmt::Result = super::write_report(&mut text, &report, &|_| None);
    };
    observed.restart_at = situation.restart_at;
    observed.run(situation.calm, &mut say);
    let state = std::mem::take(&mut observed.queue.state);
    observed.queue = Queue { state, ..situation.faulty };
    if situation.causes[0] == Cause::LazyConsumption {
        observed.queue.owner_runs = false;
        let full = observed.queue.buffers as f64 / observed.queue.arrivals_per_second;
        observed.run(full as u64 + 1, &mut say);
        observed.queue.owner_runs = true;
    }
    observed.run(situation.trouble, &mut say);
    text
}

/// One queue under observation.
struct Observed {
    queue: Queue,
    tracker: Tracker,
    random: Random,
    next: u64,
    milliseconds: u64,
    /// When the driver restarts the hardware queue.
    restart_at: Option<u64>,
}

impl Observed {
    fn new(mut queue: Queue, random: Random) -> Self {
        let mut tracker = Tracker::new(WINDOW);
        queue.start(|sample| drop(tracker.feed(sample)));
        Self { queue, tracker, random, next: 0, milliseconds: 0, restart_at: None }
    }

    /// Runs for so long, and calls after each sample.
    fn run(&mut self, seconds: u64, mut sampled: impl FnMut(&Queue, &Tracker)) {
        for _ in 0..seconds * 1000 {
            self.queue.advance();
            self.milliseconds += 1;
            if self.restart_at == Some(self.milliseconds) {
                self.queue.reset();
            }
            if self.milliseconds >= self.next {
                // A loaded host samples late now and then.
                let cadence = self.queue.cadence.as_millis() as f64;
                self.next = self.milliseconds + (cadence * (0.95 + self.random.share() * 0.2)) as u64;
                self.tracker.feed(self.queue.sample());
                sampled(&self.queue, &self.tracker);
            }
        }
    }
}

impl Accuracy {
    fn run(&mut self, case: u64, seed: u64) {
        let mut random = Random::new(seed, case);
        let situation = situations::faulty(&mut random);
        let mut observed = Observed::new(situation.healthy.clone(), random);
        observed.restart_at = situation.restart_at;
        let mut early = false;
        observed.run(situation.calm, |_, tracker| early |= tracker.open().is_some());
        self.early += u64::from(early);
        let state = std::mem::take(&mut observed.queue.state);
        observed.queue = Queue { state, ..situation.faulty.clone() };
        if situation.causes[0] == Cause::LazyConsumption {
            // The driver gives up while the owner does not come; then it comes again.
            observed.queue.owner_runs = false;
            let full = observed.queue.buffers as f64 / observed.queue.arrivals_per_second;
            observed.run(full as u64 + 1, |_, _| {});
            observed.queue.owner_runs = true;
        }
        let before = observed.queue.ledger();
        let mut harm = Harm::default();
        let (mut said, mut findings) = (vec![Vec::new()], Vec::new());
        observed.run(situation.trouble, |queue, tracker| {
            let shown = harm.shown(&situation, queue, &before);
            // A queue that lost its last packet long ago has recovered: it is judged by what was said before. If it
            // starves again, what is said then is judged too.
            if harm.is_over(queue, &situation) && said.last().is_some_and(|said| !said.is_empty()) {
                said.push(Vec::new());
            }
            if !shown {
                return;
            }
            said.last_mut().expect("one is there").push(tracker.open().and_then(Episode::cause));
            findings = tracker.open().map(|open| open.diagnosis.causes.clone()).unwrap_or_default();
        });
        said.retain(|said| said.len() > SAMPLES);
        if said.is_empty() {
            self.harmless += 1;
            return;
        }
        let truth = Self::truth(&situation, &observed.queue);
        self.judge(case, &situation, &truth, &findings, &said);
    }

    /// The causes by the ledger, the one that took most first; of single faults, what was done.
    fn truth(situation: &Situation, queue: &Queue) -> Vec<Cause> {
        if situation.causes.len() == 1 {
            return situation.causes.clone();
        }
        let by_ledger = queue.truth();
        by_ledger.iter().map(|place| place.0).filter(|cause| situation.causes.contains(cause)).collect()
    }

    fn judge(
        &mut self,
        case: u64,
        situation: &Situation,
        truth: &[Cause],
        findings: &[Finding],
        said: &[Vec<Option<Cause>>],
    ) {
        self.cases += 1;
        let first = findings.first();
        let right = first.is_some_and(|finding| finding.cause == truth[0]);
        *self.confusion.entry((truth[0], first.map(|finding| finding.cause))).or_default() += 1;
        self.first += u64::from(right);
        self.second += u64::from(findings.iter().take(2).any(|finding| finding.cause == truth[0]));
        if let Some(finding) = first {
            let (all, good) = self.calibration.entry(finding.confidence).or_default();
            *all += 1;
            *good += u64::from(right);
        }
        let is_right = |said: &Option<Cause>| *said == Some(truth[0]);
        if right {
            // Of several starvations, the one in which it took longest.
            let until_right = |said: &Vec<Option<Cause>>| {
                said.iter().rposition(|said| !is_right(said)).map_or(0, |wrong| wrong + 1)
            };
            let slowest = said.iter().max_by_key(|said| until_right(said)).expect("one is there");
            let since = until_right(slowest);
            self.samples.push(since);
            if since > SAMPLES {
                *self.late.entry((truth[0], situation.form)).or_default() += 1;
                self.late_cases.push(format!(
                    "case {case}: {} ({}), calm {} s, cadence {} ms, right after {since} samples, before: {:?}",
                    truth[0].name(),
                    situation.form,
                    situation.calm,
                    situation.faulty.cadence.as_millis(),
                    slowest[..since].iter().map(|said| said.map_or("nothing", Cause::name)).collect::<Vec<_>>()
                ));
            }
        } else {
            let queue = &situation.faulty;
            self.wrong.push(format!(
                "case {case}: {} ({}), calm {} s, cadence {} ms, said {}{}",
                truth[0].name(),
                situation.form,
                situation.calm,
                queue.cadence.as_millis(),
                first.map_or("nothing", |finding| finding.cause.name()),
                first.map_or_else(String::new, |finding| format!(" ({})", finding.confidence.name()))
            ));
        }
        let pairs = said.iter().flat_map(|said| said.windows(2));
        let flickers = pairs.filter(|pair| is_right(&pair[0]) && !is_right(&pair[1])).count();
        self.flickers += flickers as u64;
    }

    fn plus(mut self, other: Self) -> Self {
        for (cell, count) in other.confusion {
            *self.confusion.entry(cell).or_default() += count;
        }
        for (confidence, (all, good)) in other.calibration {
            let sum = self.calibration.entry(confidence).or_default();
            *sum = (sum.0 + all, sum.1 + good);
        }
        self.cases += other.cases;
        self.first += other.first;
        self.second += other.second;
        self.samples.extend(other.samples);
        for (kind, count) in other.late {
            *self.late.entry(kind).or_default() += count;
        }
        self.early += other.early;
        self.flickers += other.flickers;
        self.wrong.extend(other.wrong);
        self.late_cases.extend(other.late_cases);
        self.harmless += other.harmless;
        self
    }
}
