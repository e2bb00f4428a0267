//! Watches over the threads, and feeds systemd's watchdog while all of them make progress.
//!
//! Receive threads are asked and have to answer; the sampler, which reads the probes, has to come round. This loop runs
//! where signals and connections are dealt with: if that hangs, nothing feeds the watchdog either.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::manager::{self, Manager};
use super::sources::Sources;
use crate::observe::ThreadSample;

/// How long a thread may not answer, where no watchdog says otherwise: a driver that is reset takes seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often threads are asked, at most so seldom.
const SELDOM: Duration = Duration::from_secs(5);

/// When the sampler last came round.
pub(super) struct Beat(Mutex<Instant>);

impl Beat {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// It came round.
    pub(super) fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn silent_for(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// What is known of the threads.
#[derive(Default)]
pub(super) struct Heart(Mutex<BTreeMap<String, bool>>);

impl Heart {
    /// The threads at the last look.
    pub(super) fn sample(&self) -> Vec<ThreadSample> {
        self.known()
            .iter()
            .map(|(name, responsive)| ThreadSample { name: name.clone(), responsive: *responsive })
            .collect()
    }

    /// Asks, judges and feeds, until it is dropped.
    pub(super) async fn watch(
        &self,
        sources: &Sources,
        manager: &Manager,
        sampler: Arc<Beat>,
        interval: Duration,
    ) {
        let watchdog = manager::watchdog();
        let patience = watchdog.map_or(PATIENCE, |watchdog| watchdog / 2);
        let pause = (patience / 3).min(SELDOM);
        loop {
            let mut silent = BTreeMap::new();
            silent.insert("sampler".to_owned(), sampler.silent_for().saturating_sub(interval));
            for (key, owed) in sources.pulse() {
                silent.insert(format!("receive {key}"), owed.unwrap_or_default());
            }
            if self.judge(&silent, patience) && watchdog.is_some() {
                manager.alive();
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Says which threads fell silent and which came back; whether all are responsive.
    fn judge(&self, silent: &BTreeMap<String, Duration>, patience: Duration) -> bool {
        let mut known = self.known();
        let now: BTreeMap<_, _> =
            silent.iter().map(|(name, silent)| (name.clone(), *silent <= patience)).collect();
        for (name, responsive) in &now {
            match (known.get(name).copied().unwrap_or(true), *responsive) {
                (true, false) => error!(thread = name, "a thread does not answer; the watchdog is not fed"),
                (false, true) => info!(thread = name, "the thread answers again"),
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
    fn one_silent_thread_is_enough_and_may_come_back() {
        let heart = Heart::default();
        let silent = |seconds| {
            BTreeMap::from([
                ("sampler".to_owned(), Duration::ZERO),
                ("receive queue:0".to_owned(), Duration::from_secs(seconds)),
            ])
        };
        assert!(heart.judge(&silent(15), PATIENCE));
        assert!(!heart.judge(&silent(16), PATIENCE));
        let responsive: Vec<_> = heart.sample().iter().map(|thread| thread.responsive).collect();
        assert_eq!(responsive, [false, true]);
        assert!(heart.judge(&silent(0), PATIENCE));
    }
}
