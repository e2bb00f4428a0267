//! The diagnosis of this host: from the running zcrxd, or from probes that the command attaches.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon;
use crate::diagnose::{HostDiagnosis, HostWatch, Replayed};
use crate::kernel::Kernel;
use crate::model::{ProbeStatus, common_refusal};
use crate::net::Netlink;
use crate::observe::{Join, NicSample};
use crate::probe::Probes;

/// Why there is no diagnosis of this host.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    #[error("cannot read the zcrx queues of this host: {0}")]
    NoSnapshot(String),
    #[error("the running zcrxd does not answer: {reason} (socket {})", socket.display())]
    NoAnswer { socket: PathBuf, reason: String },
}

/// Time between samples: a problem of two seconds gets several.
const SAMPLE_EVERY: Duration = Duration::from_millis(400);

/// Samples of each queue that the diagnosis uses: one minute.
const SAMPLES: usize = 150;

/// Age of an ended episode up to which the command reports it: the memory of the running zcrxd.
const RECENT: Duration = Duration::from_mins(1);

/// Limit of the wait for a daemon that is still starting.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Default time of observation without a daemon: an episode is reported after one second.
pub(super) const OBSERVE: Duration = Duration::from_secs(4);

/// Source of the diagnosis.
pub(super) enum Live {
    /// The zcrxd that listens on this socket.
    Daemon(PathBuf),
    /// Probes that this command attached.
    Alone(Box<Alone>),
}

pub(super) struct Alone {
    probes: Probes,
    netlink: Netlink,
    join: Join,
    watch: HostWatch,
}

impl Live {
    /// Returns the running zcrxd if there is one and `alone` is not set. The daemon has a longer history and knows its local
    /// queues from inside.
    pub(super) fn find(runtime_dir: Option<&Path>, alone: bool) -> Self {
        let socket = daemon::socket(runtime_dir);
        if !alone && is_listening(&socket) {
            return Self::Daemon(socket);
        }
        let probes = Probes::attach(&Kernel::inspect());
        let watch = HostWatch::new(SAMPLES);
        Self::Alone(Box::new(Alone { probes, netlink: Netlink::new(), join: Join::default(), watch }))
    }

    /// Name of the source for a header line.
    pub(super) const fn source(&self) -> &'static str {
        match self {
            Self::Daemon(_) => "by the running zcrxd",
            Self::Alone(_) => "by probes of this command",
        }
    }

    /// Returns the present diagnosis. Without a daemon, observes for `time` first; zero means one sample.
    pub(super) fn diagnosis(&mut self, time: Duration) -> Result<HostDiagnosis, LiveError> {
        match self {
            Self::Daemon(socket) => ask(socket),
            Self::Alone(alone) => alone.observe(time),
        }
    }

    /// Returns the diagnosis of each queue with its recent episodes. Without a daemon, observes for `time` or [`OBSERVE`].
    pub(super) fn diagnose(&mut self, time: Option<Duration>) -> Result<Vec<Replayed>, LiveError> {
        match self {
            Self::Daemon(socket) => ask(socket).map(|host| with_episodes(host, RECENT)),
            Self::Alone(alone) => {
                let time = time.unwrap_or(OBSERVE);
                alone.observe(time).map(|host| with_episodes(host, Duration::MAX))
            }
        }
    }

    /// Waits until the next request to a daemon; without a daemon, observing takes this time.
    pub(super) fn pause(&self, time: Duration) {
        if matches!(self, Self::Daemon(_)) {
            thread::sleep(time);
        }
    }
}

/// Returns the report of each queue with its episodes that ended at most `age` ago.
fn with_episodes(host: HostDiagnosis, age: Duration) -> Vec<Replayed> {
    let now = host.at.unwrap_or_default();
    let recent = |ended: Option<Duration>| ended.is_some_and(|ended| now.saturating_sub(ended) <= age);
    let replayed = |report: crate::diagnose::Report| {
        let over = host.recent.iter().filter(|episode| episode.key == report.key && recent(episode.ended));
        let episodes = over.chain(&report.episode).cloned().collect();
        Replayed { key: report.key.clone(), episodes, report, recommended: None }
    };
    host.queues.into_iter().map(replayed).collect()
}

/// Whether a daemon listens, also one that refuses this user: the request then reports the refusal.
fn is_listening(socket: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn ask(socket: &Path) -> Result<HostDiagnosis, LiveError> {
    let no_answer = |reason: String| LiveError::NoAnswer { socket: socket.to_owned(), reason };
    let begin = Instant::now();
    loop {
        let text = daemon::ask(socket, "/diagnose.json").map_err(|error| no_answer(error.to_string()))?;
        let host: HostDiagnosis = serde_json::from_str(&text).map_err(|error| {
            no_answer(format!("cannot parse its answer: {error}; is it the same version?"))
        })?;
        // A daemon that is still attaching its probes knows no queue yet, which does not mean that there is none.
        if host.at.is_some() {
            return Ok(host);
        }
        if begin.elapsed() > START_LIMIT {
            return Err(no_answer("it is still starting".to_owned()));
        }
        thread::sleep(SAMPLE_EVERY);
    }
}

impl Alone {
    fn observe(&mut self, time: Duration) -> Result<HostDiagnosis, LiveError> {
        let begin = Instant::now();
        loop {
            let probed = self.probes.sample();
            let Some(snapshot) = probed.snapshot else {
                let reason =
                    common_refusal(&probed.probes).map_or_else(|| refusals(&probed.probes), str::to_owned);
                return Err(LiveError::NoSnapshot(reason));
            };
            let nic = NicSample::read(&mut self.netlink, Some(&snapshot), false);
            let samples = self.join.samples(snapshot.ended, &[], Some(&snapshot), &nic);
            self.watch.feed(snapshot.ended, samples);
            if begin.elapsed() >= time {
                return Ok(self.watch.diagnosis());
            }
            thread::sleep(SAMPLE_EVERY.min(time));
        }
    }
}

/// Why the snapshot probe did not attach.
fn refusals(probes: &[ProbeStatus]) -> String {
    let probe = probes.iter().find(|probe| probe.name == "snapshot");
    let reasons: Vec<_> = probe
        .map(|probe| {
            probe.refused.iter().map(|attempt| format!("{}: {}", attempt.target, attempt.error)).collect()
        })
        .unwrap_or_default();
    let reasons = if reasons.is_empty() { "the snapshot failed".to_owned() } else { reasons.join("; ") };
    format!("{reasons}; `zcrxd probes` and `zcrxd check` say what to do")
}
