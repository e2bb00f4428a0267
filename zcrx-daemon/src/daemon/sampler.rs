//! Looks at all queues once in a while, says what is wrong with them, and records episodes.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use super::DaemonError;
use super::fault::Trap;
use super::heart::Beat;
use crate::diagnose::{Event, HostDiagnosis, HostWatch, Life, Tracker};
use crate::export::recording::{Limits, RecordError, Recorder};
use crate::model::{Cause, Episode, QueueState, ReceiveSample, Registration};
use crate::observe::{Observer, errno_label, monotonic, refusal};

/// What a diagnosis looks back on, and what a recording begins with.
const MEMORY: Duration = Duration::from_mins(1);

/// How, and how often.
pub(super) struct Sampling {
    pub(super) interval: Duration,
    /// Where episodes are recorded; `None` for nowhere.
    pub(super) recordings: Option<PathBuf>,
}

/// The thread that looks.
pub(super) struct Sampler {
    // Its end is the sign to stop.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Begins; what is found is told to `told` after each look. A thread of its own, since a look at interfaces may
    /// wait for a driver and a recording for a disk.
    pub(super) fn start(
        observer: Arc<Observer>,
        sampling: Sampling,
        told: watch::Sender<Arc<HostDiagnosis>>,
        beat: Arc<Beat>,
        trap: Arc<Trap>,
    ) -> Result<Self, DaemonError> {
        let (stop, stopped) = mpsc::channel();
        let samples = (MEMORY.as_millis() / sampling.interval.as_millis().max(1)).try_into().unwrap_or(2);
        let flight = Flight::new(sampling.recordings, observer.kernel.clone());
        let watch = HostWatch::new(samples);
        let (before, refused_until) = (Vec::new(), Duration::ZERO);
        let round = Round { observer, watch, flight, before, refused_until, told, beat, trap };
        let thread = thread::Builder::new()
            .name("zcrxd-sampler".to_owned())
            .spawn(move || round.go_on(sampling.interval, &stopped))
            .map_err(|source| DaemonError::System { what: "start the sampling thread", source })?;
        Ok(Self { stop, thread })
    }

    /// Ends the open episodes, so that their recordings are complete. May take as long as a look.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A panic in there has been printed.
        self.thread.join().ok();
    }
}

struct Round {
    observer: Arc<Observer>,
    watch: HostWatch,
    flight: Flight,
    before: Vec<ReceiveSample>,
    /// When the last registration that was told ended.
    refused_until: Duration,
    told: watch::Sender<Arc<HostDiagnosis>>,
    beat: Arc<Beat>,
    trap: Arc<Trap>,
}

impl Round {
    fn go_on(mut self, interval: Duration, stopped: &mpsc::Receiver<()>) {
        let end = loop {
            self.beat.beat();
            self.trap.step_in();
            let began = Instant::now();
            let observation = self.observer.observe();
            let now = observation.monotonic;
            let looked_at = observation.host.queues.iter().map(|sample| sample.at).max();
            tell_states(&self.before, &observation.host.receive);
            self.before = observation.host.receive;
            let registrations = &observation.host.probe.recent_registrations;
            for line in refusals(registrations, self.refused_until) {
                warn!("{line}");
            }
            self.refused_until = registrations.last().map_or(self.refused_until, |last| last.at);
            let flight = &mut self.flight;
            let diagnosis = self.watch.feed(now, observation.host.queues, |life, tracker, events| {
                flight.take(life, tracker, events);
            });
            self.told.send_replace(Arc::new(diagnosis));
            let since = looked_at.map_or_else(|| began.elapsed(), |at| monotonic().saturating_sub(at));
            let pause = pause(interval, since);
            if stopped.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Disconnected) {
                break now;
            }
        };
        let flight = &mut self.flight;
        self.watch.feed(end, Vec::new(), |life, tracker, events| flight.take(life, tracker, events));
    }
}

/// How long to wait for the next look. Samples lie an interval apart, or more, and never less: what was new in one has
/// lasted for an interval in the next, whatever delayed either of them. A look that took too long is not made up for.
const fn pause(interval: Duration, since: Duration) -> Duration {
    interval.saturating_sub(since)
}

/// Says and records what becomes of episodes.
struct Flight {
    directory: Option<PathBuf>,
    kernel: String,
    /// Made with the first episode: a host on which nothing goes wrong gets no directory.
    recorder: Option<Recorder>,
}

impl Flight {
    const fn new(directory: Option<PathBuf>, kernel: String) -> Self {
        Self { directory, kernel, recorder: None }
    }

    fn take(&mut self, life: &Life, tracker: &Tracker, events: &[Event]) {
        events.iter().for_each(say);
        if let Err(error) = self.record(life, tracker, events) {
            warn!("{error}");
        }
        let began = events.iter().any(|event| matches!(event, Event::Began(_)));
        if let Some(file) = self.recorder.as_ref().and_then(Recorder::last).filter(|_| began) {
            info!("queue {}: recorded in {}", life.0, file.display());
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

fn say(event: &Event) {
    let cause = |episode: &Episode| episode.cause().map_or("unknown", Cause::name);
    match event {
        Event::Began(episode) => {
            warn!("queue {}: {}; cause: {}", episode.key, episode.trouble.words(), cause(episode));
        }
        Event::Reconsidered(episode) => {
            warn!(
                "queue {}: still {}; cause is rather {}",
                episode.key,
                episode.trouble.name(),
                cause(episode)
            );
        }
        Event::Ended(episode) => {
            let lasted = episode.lasted(episode.noticed).as_secs_f64();
            info!(
                "queue {}: {} for {lasted:.1} s, now over; cause: {}",
                episode.key,
                episode.trouble.name(),
                cause(episode)
            );
        }
    }
}

/// Lines about refused registrations in one look at most: a program may try in a loop.
const MOST_REFUSALS: usize = 8;

/// What to say of registrations that were refused after that moment; the same one again and again is one line.
fn refusals(registrations: &[Registration], after: Duration) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for refused in registrations.iter().filter(|one| one.errno != 0 && one.at > after) {
        let interface = refused.interface.as_deref().unwrap_or("an unknown interface");
        let queue = refused.queue.map(|queue| format!(":{queue}")).unwrap_or_default();
        let who = format!(
            "{} ({}) could not register {interface}{queue}: {}",
            refused.comm,
            refused.pid,
            errno_label(refused.errno)
        );
        let why = refusal(refused).map_or_else(String::new, |refusal| {
            let quote = if refusal.said_by_kernel { "\"" } else { "" };
            format!(": {quote}{}{quote}; {}", refusal.why, refusal.remedy)
        });
        let shown = refused.hints.iter().flat_map(|hint| ["; ", hint.as_str()]).collect::<String>();
        let line = who + &why + &shown;
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, times)) => *times += 1,
            None => lines.push((line, 1)),
        }
    }
    let more = lines.len().saturating_sub(MOST_REFUSALS);
    let told = lines.into_iter().take(MOST_REFUSALS);
    let mut said: Vec<_> =
        told.map(|(line, times)| if times > 1 { format!("{line} ({times} times)") } else { line }).collect();
    if more > 0 {
        said.push(format!("{more} more registrations were refused"));
    }
    said
}

/// Says which own queues are in another state than before.
fn tell_states(before: &[ReceiveSample], now: &[ReceiveSample]) {
    for now in now {
        let Some(before) = before.iter().find(|before| before.key == now.key) else { continue };
        if before.state == now.state {
            continue;
        }
        let (from, to) = (before.state.name(), now.state.name());
        if now.state == QueueState::Running {
            info!("queue {}: {from} to {to}", now.key);
        } else {
            warn!("queue {}: {from} to {to}: {}", now.key, now.state_reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::full;

    #[test]
    fn looks_lie_an_interval_apart_and_are_not_made_up_for() {
        let interval = Duration::from_secs(1);
        assert_eq!(pause(interval, Duration::from_millis(300)), Duration::from_millis(700));
        assert_eq!(pause(interval, Duration::from_millis(1_500)), Duration::ZERO);
    }

    #[test]
    fn a_refusal_is_told_once_with_the_kernels_words_and_the_hints() {
        let mut registrations = full().host.probe.recent_registrations;
        registrations[1].words = Some("tcp-data-split is disabled".to_owned());
        let again = Registration { at: Duration::from_secs(996), ..registrations[1].clone() };
        registrations.push(again);
        let said = refusals(&registrations, Duration::ZERO);
        let [line] = said.as_slice() else { panic!("{said:#?}") };
        for word in [
            "could not register eth0:3",
            "EINVAL",
            "\"tcp-data-split is disabled\"",
            "ethtool -G",
            "(2 times)",
        ] {
            assert!(line.contains(word), "{word}: {line}");
        }
        assert_eq!(refusals(&registrations, Duration::from_secs(996)), [""; 0]);
    }
}
