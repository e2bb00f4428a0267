//! This host as it is: what the running zcrxd says of it, or what can be seen without one.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::daemon;
use crate::diagnose::{HostDiagnosis, HostWatch, Replayed};
use crate::kernel::Kernel;
use crate::model::ProbeStatus;
use crate::net::Netlink;
use crate::observe::{Join, NicSample};
use crate::probe::Probes;

/// Why nothing is known of this host.
#[derive(Debug, thiserror::Error)]
pub(super) enum LiveError {
    #[error("this host does not show its queues: {0}; `zcrxd probes` tells what would remedy it")]
    NoSnapshot(String),
    #[error("the zcrxd that listens on {} does not answer: {reason}", socket.display())]
    Unanswered { socket: PathBuf, reason: String },
}

/// How often queues are looked at: often enough to have several samples of a two seconds' trouble.
const CADENCE: Duration = Duration::from_millis(400);

/// Samples of each queue that are looked back on: a minute of them.
const SAMPLES: usize = 150;

/// How long ago an episode may have ended to be told of: what the running zcrxd looks back on.
const LATELY: Duration = Duration::from_mins(1);

/// How long to wait for a daemon that has only just been started.
const STARTING: Duration = Duration::from_secs(10);

/// How long to look at the host if nothing is said: an episode is told once it has lasted a second.
pub(super) const LOOK: Duration = Duration::from_secs(4);

/// Who says what is wrong.
pub(super) enum Live {
    /// The zcrxd that listens on this socket.
    Daemon(PathBuf),
    /// This command, with probes of its own.
    Alone(Box<Alone>),
}

pub(super) struct Alone {
    probes: Probes,
    netlink: Netlink,
    join: Join,
    watch: HostWatch,
}

impl Live {
    /// The running zcrxd, if there is one and nothing speaks against it: it has looked at the queues for long, and sees
    /// its own from inside.
    pub(super) fn find(runtime_dir: Option<&Path>, alone: bool) -> Self {
        let socket = daemon::socket(runtime_dir);
        if !alone && is_there(&socket) {
            return Self::Daemon(socket);
        }
        let probes = Probes::attach(&Kernel::inspect());
        let watch = HostWatch::new(SAMPLES);
        Self::Alone(Box::new(Alone { probes, netlink: Netlink::new(), join: Join::default(), watch }))
    }

    /// Who it is, in words.
    pub(super) const fn source(&self) -> &'static str {
        match self {
            Self::Daemon(_) => "by the running zcrxd",
            Self::Alone(_) => "by own probes",
        }
    }

    /// All that is known now. Without a daemon it is looked for so long; a single look takes no time.
    pub(super) fn look(&mut self, time: Duration) -> Result<HostDiagnosis, LiveError> {
        match self {
            Self::Daemon(socket) => ask(socket),
            Self::Alone(alone) => alone.look(time),
        }
    }

    /// What is wrong now. Without a daemon that takes as long as it is looked, `time` or a few seconds.
    pub(super) fn diagnose(&mut self, time: Option<Duration>) -> Result<Vec<Replayed>, LiveError> {
        match self {
            Self::Daemon(socket) => ask(socket).map(|said| told(said, LATELY)),
            Self::Alone(alone) => {
                let time = time.unwrap_or(LOOK);
                alone.look(time).map(|said| told(said, Duration::MAX))
            }
        }
    }

    /// Lets time pass until the next answer is due; looking takes its time by itself.
    pub(super) fn pause(&self, time: Duration) {
        if matches!(self, Self::Daemon(_)) {
            thread::sleep(time);
        }
    }
}

/// What is known of each queue, with its episodes that are not long over.
fn told(said: HostDiagnosis, lately: Duration) -> Vec<Replayed> {
    let now = said.at.unwrap_or_default();
    let recent = |ended: Option<Duration>| ended.is_some_and(|ended| now.saturating_sub(ended) <= lately);
    let replayed = |report: crate::diagnose::Report| {
        let over = said.recent.iter().filter(|episode| episode.key == report.key && recent(episode.ended));
        let episodes = over.chain(&report.episode).cloned().collect();
        Replayed { key: report.key.clone(), episodes, report }
    };
    said.queues.into_iter().map(replayed).collect()
}

/// Whether somebody listens. One whom this user may not ask is there, and asking says why not.
fn is_there(socket: &Path) -> bool {
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

fn ask(socket: &Path) -> Result<HostDiagnosis, LiveError> {
    let unanswered = |reason: String| LiveError::Unanswered { socket: socket.to_owned(), reason };
    let begin = Instant::now();
    loop {
        let text = daemon::ask(socket, "/diagnose.json").map_err(|error| unanswered(error.to_string()))?;
        let said: HostDiagnosis = serde_json::from_str(&text)
            .map_err(|error| unanswered(format!("its answer cannot be read: {error}")))?;
        // One that is still attaching its probes knows of no queue, which is not the same as that there is none.
        if said.at.is_some() {
            return Ok(said);
        }
        if begin.elapsed() > STARTING {
            return Err(unanswered("it is still starting".to_owned()));
        }
        thread::sleep(CADENCE);
    }
}

impl Alone {
    fn look(&mut self, time: Duration) -> Result<HostDiagnosis, LiveError> {
        let begin = Instant::now();
        loop {
            let probed = self.probes.sample();
            let Some(snapshot) = probed.snapshot else {
                return Err(LiveError::NoSnapshot(refusals(&probed.probes)));
            };
            let nic = NicSample::read(&mut self.netlink, Some(&snapshot));
            let samples = self.join.samples(snapshot.ended, &[], Some(&snapshot), &nic);
            let said = self.watch.feed(snapshot.ended, samples, |_, _, _| {});
            if begin.elapsed() >= time {
                return Ok(said);
            }
            thread::sleep(CADENCE.min(time));
        }
    }
}

/// Why there is no snapshot, as its probe was told.
fn refusals(probes: &[ProbeStatus]) -> String {
    let probe = probes.iter().find(|probe| probe.name == "snapshot");
    let words: Vec<_> = probe
        .map(|probe| {
            probe.refused.iter().map(|attempt| format!("{}: {}", attempt.target, attempt.error)).collect()
        })
        .unwrap_or_default();
    if words.is_empty() { "there is no snapshot".to_owned() } else { words.join("; ") }
}
