//! Samples all queues periodically, diagnoses them, and records episodes.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing::warn;

use super::fault::Trap;
use super::memory::Trimmer;
use super::queues::Queues;
use super::watchdog::Heartbeat;
use super::{DaemonError, events};
use crate::diagnose::{Event, Life, Tracker};
use crate::export::recording::{Limits, RecordError, Recorder};
use crate::model::{ReceiveSample, Registration, Scope};
use crate::observe::{Observer, monotonic};

/// Settings of the sampler.
pub(super) struct Sampling {
    pub(super) interval: Duration,
    /// Directory of recordings; `None` to record nothing.
    pub(super) recordings: Option<PathBuf>,
}

/// The sampling thread.
pub(super) struct Sampler {
    // Dropping the sender stops the thread.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Starts a thread that samples and diagnoses the queues. A separate thread, since reading an interface may wait
    /// for a driver, and recording for a disk.
    pub(super) fn start(
        observer: Arc<Observer>,
        sampling: Sampling,
        queues: Queues,
        heartbeat: Arc<Heartbeat>,
        trap: Arc<Trap>,
    ) -> Result<Self, DaemonError> {
        let (stop, stopped) = mpsc::channel();
        let recorder = EpisodeRecorder::new(sampling.recordings, observer.kernel.clone());
        let sampling_loop = SamplerLoop {
            observer,
            queues,
            recorder,
            before: Vec::new(),
            refused_until: Duration::ZERO,
            trimmer: Trimmer::default(),
            heartbeat,
            trap,
        };
        let thread = thread::Builder::new()
            .name("zcrxd-sampler".to_owned())
            .spawn(move || sampling_loop.run(sampling.interval, &stopped))
            .map_err(|source| DaemonError::System { what: "start the sampling thread", source })?;
        Ok(Self { stop, thread })
    }

    /// Ends open episodes, so their recordings are complete. May take as long as one sample.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic of the thread has been printed.
        self.thread.join().ok();
    }
}

/// State of the sampling thread.
struct SamplerLoop {
    observer: Arc<Observer>,
    queues: Queues,
    recorder: EpisodeRecorder,
    before: Vec<ReceiveSample>,
    /// End of the last registration that was reported.
    refused_until: Duration,
    trimmer: Trimmer,
    heartbeat: Arc<Heartbeat>,
    trap: Arc<Trap>,
}

impl SamplerLoop {
    fn run(mut self, interval: Duration, stopped: &mpsc::Receiver<()>) {
        let end = loop {
            self.heartbeat.beat();
            self.trap.wait_while_set();
            let began = Instant::now();
            let observation = self.observer.sample(Scope::Queues);
            let now = observation.monotonic;
            let sampled_at = observation.host.queues.iter().map(|sample| sample.at).max();
            log_state_changes(&self.before, &observation.host.receive);
            self.before = observation.host.receive;
            let registrations = &observation.host.probe.recent_registrations;
            log_refusals(registrations, self.refused_until);
            self.refused_until = registrations.last().map_or(self.refused_until, |last| last.at);
            let count = observation.host.queues.len();
            let recorder = &mut self.recorder;
            self.queues.feed(now, observation.host.queues, |life, tracker, events| {
                recorder.take(life, tracker, events);
            });
            self.trimmer.sampled(count);
            let since = sampled_at.map_or_else(|| began.elapsed(), |at| monotonic().saturating_sub(at));
            let pause = pause(interval, since);
            if stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Disconnected) {
                break now;
            }
        };
        let recorder = &mut self.recorder;
        self.queues.feed(end, Vec::new(), |life, tracker, events| recorder.take(life, tracker, events));
    }
}

/// Pause until the next sample. Samples are at least one interval apart, whatever delayed them: a condition that is new in
/// one sample has lasted for an interval in the next. A late sample is not followed by an early one.
const fn pause(interval: Duration, since: Duration) -> Duration {
    interval.saturating_sub(since)
}

/// Logs and records episodes.
struct EpisodeRecorder {
    directory: Option<PathBuf>,
    kernel: String,
    /// Created with the first episode: a healthy host gets no directory.
    recorder: Option<Recorder>,
}

impl EpisodeRecorder {
    const fn new(directory: Option<PathBuf>, kernel: String) -> Self {
        Self { directory, kernel, recorder: None }
    }

    fn take(&mut self, life: &Life, tracker: &Tracker, events: &[Event]) {
        events.iter().for_each(log_event);
        if let Err(error) = self.record(life, tracker, events) {
            warn!("{error}");
        }
        let began = events.iter().any(|event| matches!(event, Event::Began(_)));
        if let Some(file) = self.recorder.as_ref().and_then(Recorder::last).filter(|_| began) {
            events::episode_recorded(&life.0, file);
        }
    }

    fn record(&mut self, life: &Life, tracker: &Tracker, events: &[Event]) -> Result<(), RecordError> {
        if self.recorder.is_none() {
            if events.is_empty() {
                return Ok(());
            }
            let Some(directory) = &self.directory else { return Ok(()) };
            self.recorder = Some(Recorder::new(directory.clone(), Limits::default(), self.kernel.clone())?);
        }
        self.recorder.as_mut().map_or(Ok(()), |recorder| recorder.record(life, tracker, events))
    }
}

fn log_event(event: &Event) {
    match event {
        Event::Began(episode) => events::episode_began(episode),
        Event::Reconsidered(episode) => events::episode_reconsidered(episode),
        Event::Ended(episode) => events::episode_ended(episode),
    }
}

/// Largest number of lines about refused registrations per sample: a program may retry in a loop.
const MOST_REFUSALS: usize = 8;

/// Logs registrations of other processes that were refused after `after`.
fn log_refusals(registrations: &[Registration], after: Duration) {
    let refusals = refusals(registrations, after);
    for (refused, times) in refusals.iter().take(MOST_REFUSALS) {
        events::registration_refused(refused, *times);
    }
    let more = refusals.len().saturating_sub(MOST_REFUSALS);
    if more > 0 {
        warn!("{more} more registrations were refused; the page lists them");
    }
}

/// Registrations of other processes that were refused after `after`, each with how often: those with the same text are one.
/// zcrxd's own attempts are reported by the queue that made them.
fn refusals(registrations: &[Registration], after: Duration) -> Vec<(&Registration, usize)> {
    let own = std::process::id();
    let mut refusals: Vec<(&Registration, usize, String)> = Vec::new();
    for refused in registrations.iter().filter(|one| one.errno != 0 && one.at > after && one.pid != own) {
        let text = events::refusal_text(refused);
        match refusals.iter_mut().find(|(_, _, known)| *known == text) {
            Some((_, times, _)) => *times += 1,
            None => refusals.push((refused, 1, text)),
        }
    }
    refusals.into_iter().map(|(refused, times, _)| (refused, times)).collect()
}

/// Logs state changes of local queues.
fn log_state_changes(before: &[ReceiveSample], now: &[ReceiveSample]) {
    for now in now {
        let Some(before) = before.iter().find(|before| before.key == now.key) else { continue };
        if before.state == now.state {
            continue;
        }
        events::queue_state_changed(before.state, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::full;

    #[test]
    fn samples_are_at_least_one_interval_apart() {
        let interval = Duration::from_secs(1);
        assert_eq!(pause(interval, Duration::from_millis(300)), Duration::from_millis(700));
        assert_eq!(pause(interval, Duration::from_millis(1_500)), Duration::ZERO);
    }

    #[test]
    fn equal_refusals_are_one_with_message_and_hints() {
        let mut registrations = full().host.probe.recent_registrations;
        registrations[1].words = Some("tcp-data-split is disabled".to_owned());
        let again = Registration { at: Duration::from_secs(996), ..registrations[1].clone() };
        let own = Registration { pid: std::process::id(), ..again.clone() };
        registrations.extend([again, own]);
        let found = refusals(&registrations, Duration::ZERO);
        let [(refused, 2)] = found.as_slice() else { panic!("{found:#?}") };
        let line = events::refusal_text(refused);
        for word in ["cannot register eth0:3", "EINVAL", "\"tcp-data-split is disabled\"", "ethtool -G"] {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(refusals(&registrations, Duration::from_secs(996)), []);
    }
}
