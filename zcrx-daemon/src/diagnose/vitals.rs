//! The key figures of a queue: where its buffers are, its rates, and how both developed recently.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Placement};
use super::history::History;

/// Key figures of one queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vitals {
    /// Size of one buffer, bytes.
    pub buffer_bytes: Option<u64>,
    /// Places of the buffers.
    pub placement: Placement,
    /// Time for which user space has held its oldest buffer.
    pub oldest_held: Option<Duration>,
    /// Rates over about the last two seconds.
    pub rates: Rates,
    /// Development over the remembered time.
    pub trace: Trace,
}

/// Rates per second. `None` where a figure is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// Payload received, bytes.
    pub bytes: Option<f64>,
    /// Part of the payload that was copied, bytes.
    pub copied_bytes: Option<f64>,
    /// Allocations that failed.
    pub failures: Option<f64>,
    /// Packets dropped.
    pub drops: Option<f64>,
    /// Refill entries published.
    pub returned: Option<f64>,
}

/// History of two figures in equal steps of time, oldest first: small enough to be part of each answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// Time covered by all steps.
    pub span: Duration,
    /// Smallest number of allocatable buffers in each step, percent of the area.
    pub available: Vec<Option<u8>>,
    /// Payload received in each step, bytes a second.
    pub bytes: Vec<Option<u64>>,
}

/// Largest number of steps of a trace.
const STEPS: usize = 60;

impl Vitals {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let recent = &facts.recent;
        Self {
            buffer_bytes: facts.now.buffer_bytes,
            placement: facts.placement,
            oldest_held: facts.now.oldest_held,
            rates: Rates {
                bytes: recent.rate(recent.bytes),
                copied_bytes: recent.rate(recent.copied_bytes),
                failures: recent.rate(recent.failures),
                drops: recent.rate(recent.drops),
                returned: recent.rate(recent.returned),
            },
            trace: Trace::of(facts.history),
        }
    }
}

impl Trace {
    fn of(history: &History) -> Self {
        // Each sample has its step.
        let samples = history.steps();
        let (Some(first), Some(last)) = (samples.front(), samples.back()) else { return Self::default() };
        let steps = samples.len().saturating_sub(1).min(STEPS);
        let mut trace = Self {
            span: last.at.saturating_sub(first.at),
            available: Vec::with_capacity(steps),
            bytes: Vec::with_capacity(steps),
        };
        if steps + 1 == samples.len() {
            // A step of the trace is one of the history.
            for step in samples.iter().skip(1) {
                trace.bytes.push(step.bytes_per_second);
                trace.available.push(step.available_percent);
            }
            return trace;
        }
        for step in 0..steps {
            // Neighbours share a sample, so that no time is lost between them.
            let from = step * (samples.len() - 1) / steps;
            let to = (step + 1) * (samples.len() - 1) / steps;
            let within = samples.range(from + 1..=to);
            if let (Some(step), 1) = (within.clone().next(), within.len()) {
                trace.bytes.push(step.bytes_per_second);
                trace.available.push(step.available_percent);
                continue;
            }
            let bytes = within.clone().map(|step| step.change.bytes).sum::<Option<u64>>();
            let seconds = samples[to].at.saturating_sub(samples[from].at).as_secs_f64();
            trace.bytes.push(bytes.map(|bytes| (bytes as f64 / seconds).round() as u64));
            trace.available.push(within.filter_map(|step| step.available_percent).min());
        }
        trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::Queue;

    fn vitals(queue: &mut Queue, seconds: u64) -> Vitals {
        let window = queue.run(seconds);
        Vitals::of(&Facts::of(&window).expect("samples"))
    }

    #[test]
    fn rates_are_those_of_the_load() {
        let vitals = vitals(&mut Queue::default(), 8);
        // 20000 buffers of 4096 bytes a second.
        let bytes = vitals.rates.bytes.expect("bytes are counted");
        assert!((78e6..=86e6).contains(&bytes), "{vitals:?}");
        assert_eq!(vitals.rates.drops, Some(0.0));
        assert!(vitals.trace.bytes.iter().skip(1).all(|rate| rate.is_some_and(|rate| rate > 70_000_000)));
    }

    #[test]
    fn a_trace_shows_how_a_leak_takes_the_area() {
        let mut leaky = Queue { leak: 0.01, buffers: 8_192, ..Queue::default() };
        let trace = vitals(&mut leaky, 20).trace;
        let seen: Vec<u8> = trace.available.iter().flatten().copied().collect();
        assert_eq!(seen.len(), trace.available.len(), "all is known: {trace:?}");
        assert!(seen.len() > 10 && seen.len() <= STEPS);
        assert!(seen.first() > seen.last(), "{seen:?}");
        assert!(trace.span >= Duration::from_secs(19), "{trace:?}");
    }

    #[test]
    fn one_sample_has_no_past() {
        let key = crate::model::QueueKey { interface: None, queue: 0 };
        let mut window = History::new(8);
        window.push(crate::model::QueueSample::unknown(key, 1, Duration::from_secs(1)));
        let vitals = Vitals::of(&Facts::of(&window).expect("a sample"));
        assert_eq!(vitals, Vitals::default());
    }
}
