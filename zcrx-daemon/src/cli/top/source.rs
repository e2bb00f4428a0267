//! Where frames come from: this host as it is, or a recording.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cli::live::{Live, LiveError};
use crate::diagnose::{HostDiagnosis, HostWatch};
use crate::export::recording::{ReadError, Recording};
use crate::view::format;
use crate::view::top::{About, Look};

/// Why there are no frames.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}: holds no samples")]
    Empty(String),
}

/// What is looked at.
pub(super) enum Source {
    Live { live: Live, host: HostDiagnosis, taken: SystemTime },
    Recording { about: String, kernel: String, frames: Vec<HostDiagnosis>, at: usize },
}

impl Source {
    pub(super) fn live(runtime_dir: Option<&Path>, alone: bool) -> Self {
        let live = Live::find(runtime_dir, alone);
        Self::Live { live, host: HostDiagnosis::default(), taken: SystemTime::now() }
    }

    /// A recording, positioned at the begin of its problem.
    pub(super) fn recording(file: &Path) -> Result<Self, SourceError> {
        let recording = Recording::read(file)?;
        let mut watch = HostWatch::new(recording.header.window);
        let frames: Vec<HostDiagnosis> = recording
            .samples()
            .map(|sample| {
                watch.feed(sample.at, vec![sample.clone()]);
                watch.diagnosis()
            })
            .collect();
        let at = frames.iter().position(HostDiagnosis::troubled).or(frames.len().checked_sub(1));
        let about = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let at = at.ok_or_else(|| SourceError::Empty(file.display().to_string()))?;
        Ok(Self::Recording { about, kernel: recording.header.kernel, frames, at })
    }

    /// What is to be seen now.
    pub(super) fn host(&self) -> &HostDiagnosis {
        match self {
            Self::Live { host, .. } => host,
            Self::Recording { frames, at, .. } => &frames[*at],
        }
    }

    /// Takes the next sample, observing for `time` without a daemon; in a recording, moves on by one sample.
    pub(super) fn next(&mut self, time: Duration) -> Result<(), SourceError> {
        match self {
            Self::Live { live, host, taken } => {
                *host = live.diagnosis(time)?;
                *taken = SystemTime::now();
                Ok(())
            }
            Self::Recording { .. } => Ok(()),
        }
    }

    /// Goes so many samples on in a recording, or back; time itself does not.
    pub(super) fn step(&mut self, by: i64) {
        if let Self::Recording { frames, at, .. } = self {
            let last = frames.len() - 1;
            *at = at.saturating_add_signed(isize::try_from(by).unwrap_or(0)).min(last);
        }
    }

    /// How long after the frame now the next one is due; `None` at the end of a recording.
    pub(super) fn pace(&self, interval: Duration) -> Option<Duration> {
        match self {
            Self::Live { .. } => Some(interval),
            Self::Recording { frames, at, .. } => {
                let next = frames.get(at + 1)?.at?;
                Some(next.saturating_sub(frames[*at].at?))
            }
        }
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    pub(super) fn about(&self, look: Look) -> About {
        let (host, source, clock) = match self {
            Self::Live { live, taken, .. } => {
                let since_epoch = taken.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                (this_host(), live.source().to_owned(), format::utc(since_epoch))
            }
            Self::Recording { about, kernel, frames, at } => {
                let since =
                    |frame: Option<&HostDiagnosis>| frame.and_then(|frame| frame.at).unwrap_or_default();
                let begin = since(frames.first());
                let now = since(frames.get(*at)).saturating_sub(begin).as_secs_f64();
                let end = since(frames.last()).saturating_sub(begin).as_secs_f64();
                (format!("Linux {kernel}"), about.clone(), format!("{now:.1} of {end:.1} s"))
            }
        };
        About { host, source, clock, problem: None, interactive: true, steps: !self.is_live(), look }
    }
}

fn this_host() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| "this host".to_owned(),
        |name| {
            let (node, release) = (name.nodename().to_string_lossy(), name.release().to_string_lossy());
            format!("{node} · Linux {release}")
        },
    )
}
