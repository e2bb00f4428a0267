//! Supervises the threads, and feeds systemd's watchdog while all of them make progress.
//!
//! A receive thread must answer a request; the sampler, which reads the probes, must complete a round. The supervision runs
//! in the event loop that also serves signals and connections: if that loop hangs, the watchdog is not fed either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::events;
use super::manager::{self, Manager};
use super::sources::Sources;
use crate::observe::ThreadSample;

/// Time within which a thread must answer without `WatchdogSec`: a reset of a driver takes seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);

/// Longest pause between two requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Time of the last completed round of the sampler.
pub(super) struct Heartbeat(Mutex<Instant>);

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Records a completed round.
    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Whether each thread answered in time.
#[derive(Default)]
pub(super) struct Watchdog(Mutex<BTreeMap<String, bool>>);

impl Watchdog {
    /// State of the threads at the last check.
    pub(super) fn sample(&self) -> Vec<ThreadSample> {
        self.known()
            .iter()
            .map(|(name, responsive)| ThreadSample { name: name.clone(), responsive: *responsive })
            .collect()
    }

    /// Checks the threads and feeds the watchdog until the future is dropped.
    pub(super) async fn run(
        &self,
        sources: &Sources,
        manager: &Manager,
        sampler: Arc<Heartbeat>,
        interval: Duration,
    ) {
        let watchdog = manager::watchdog();
        let limit = watchdog.map_or(ANSWER_LIMIT, |watchdog| watchdog / 2);
        let pause = (limit / 3).min(LONGEST_PAUSE);
        loop {
            let mut silent = BTreeMap::new();
            silent.insert("sampler".to_owned(), sampler.silent_for().saturating_sub(interval));
            for (key, unanswered) in sources.pulse() {
                silent.insert(format!("receive {key}"), unanswered.unwrap_or_default());
            }
            if self.judge(&silent, limit) && watchdog.is_some() {
                manager.alive();
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Logs threads that stopped or started answering; returns whether all answer.
    fn judge(&self, silent: &BTreeMap<String, Duration>, limit: Duration) -> bool {
        let mut known = self.known();
        let now: BTreeMap<_, _> =
            silent.iter().map(|(name, silent)| (name.clone(), *silent <= limit)).collect();
        for (name, responsive) in &now {
            match (known.get(name).copied().unwrap_or(true), *responsive) {
                (true, false) => events::thread_silent(name),
                (false, true) => events::thread_answers(name),
                _ => {}
            }
        }
        let all = now.values().all(|responsive| *responsive);
        *known = now;
        all
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, bool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_silent_thread_stops_the_feeding_until_it_answers() {
        let watchdog = Watchdog::default();
        let silent = |seconds| {
            BTreeMap::from([
                ("sampler".to_owned(), Duration::ZERO),
                ("receive queue:0".to_owned(), Duration::from_secs(seconds)),
            ])
        };
        assert!(watchdog.judge(&silent(15), ANSWER_LIMIT));
        assert!(!watchdog.judge(&silent(16), ANSWER_LIMIT));
        let responsive: Vec<_> = watchdog.sample().iter().map(|thread| thread.responsive).collect();
        assert_eq!(responsive, [false, true]);
        assert!(watchdog.judge(&silent(0), ANSWER_LIMIT));
    }
}
