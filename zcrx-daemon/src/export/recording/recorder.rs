//! Writes recordings.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::directory::{Directory, Limits, NoRoom, file_name_part};
use super::format::{Entry, FORMAT, Header, VERSION};
use crate::diagnose::{Event, Life, Tracker};
use crate::model::QueueSample;

/// Why an episode, or a part of it, is not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The directory cannot be used.
    #[error("{}: cannot keep recordings there: {source}; give another directory, or none", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no room for it.
    #[error("{}: no room for a recording: {reason}", path.display())]
    Room {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file cannot be written.
    #[error("{}: cannot write the recording: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Records episodes into a bounded directory.
pub struct Recorder {
    directory: Directory,
    kernel: String,
    open: BTreeMap<Life, Open>,
    last: Option<PathBuf>,
}

struct Open {
    path: PathBuf,
    file: File,
    bytes: u64,
    full: bool,
    /// Time of the newest sample in it.
    last: Duration,
}

impl Recorder {
    /// A recorder into this directory, which is made if need be. `kernel` is its release, for the header.
    pub fn new(directory: PathBuf, limits: Limits, kernel: String) -> Result<Self, RecordError> {
        // At least two recordings must fit, or there never is an older one to remove.
        let limits = Limits { file_bytes: limits.file_bytes.min(limits.total_bytes / 2), ..limits };
        let directory = Directory::open(directory.clone(), limits)
            .map_err(|source| RecordError::Directory { path: directory, source })?;
        Ok(Self { directory, kernel, open: BTreeMap::new(), last: None })
    }

    /// The recording that was begun last.
    pub const fn last(&self) -> Option<&PathBuf> {
        self.last.as_ref()
    }

    /// Records the result of a sample: to be called after each [`Tracker::feed`] with the events it gave, and once
    /// more with the event of [`Tracker::end`]. Does nothing for a queue without an episode. After an error the episode
    /// is recorded no further.
    pub fn record(&mut self, life: &Life, tracker: &Tracker, events: &[Event]) -> Result<(), RecordError> {
        let result = self.try_record(life, tracker, events);
        if result.is_err() {
            self.open.remove(life);
        }
        result
    }

    fn try_record(&mut self, life: &Life, tracker: &Tracker, events: &[Event]) -> Result<(), RecordError> {
        // The interface got another name: generations are unique on a host.
        let before = self.open.keys().find(|other| other.1 == life.1 && other.0 != life.0).cloned();
        if let Some(open) = before.and_then(|before| self.open.remove(&before)) {
            self.open.insert(life.clone(), open);
        }
        if let Some(open) = self.open.get_mut(life) {
            // The end of a queue that is gone comes without a sample.
            if let Some(sample) = tracker.window().last().filter(|sample| open.is_new(sample)) {
                open.sample(&self.directory, sample)?;
            }
        }
        for event in events {
            if matches!(event, Event::Began(_)) {
                let open = self.begin(life, tracker)?;
                self.last = Some(open.path.clone());
                self.open.insert(life.clone(), open);
            }
            if let Some(open) = self.open.get_mut(life) {
                open.event(event)?;
            }
            if matches!(event, Event::Ended(_)) {
                self.open.remove(life);
            }
        }
        Ok(())
    }

    /// Writes what is known so far under another name, and shows it only when it is complete.
    fn begin(&self, life: &Life, tracker: &Tracker) -> Result<Open, RecordError> {
        let open: Vec<PathBuf> = self.open.values().map(|open| open.path.clone()).collect();
        self.directory.make_room(&open).map_err(|reason| self.no_room(&reason))?;
        let now = SystemTime::now();
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            zcrxd: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.kernel.clone(),
            written: now,
            monotonic: tracker.window().last().map_or(Duration::ZERO, |sample| sample.at),
            key: life.0.clone(),
            generation: life.1,
            window: tracker.window().capacity(),
        };
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!(
            "{}-{}.{:03}-{}",
            file_name_part(&life.0.to_string().replace(':', "-")),
            since.as_secs(),
            since.subsec_millis(),
            life.1
        );
        let (hidden, path) = self.directory.places(&name);
        let written = || -> io::Result<Open> {
            let mut lines = header.line()?;
            for sample in tracker.window().samples() {
                lines.extend(Entry::Sample(Box::new(sample.clone())).line()?);
            }
            let mut file = File::create_new(&hidden)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            fs::rename(&hidden, &path)?;
            self.directory.sync()?;
            let last = tracker.window().last().map_or(Duration::ZERO, |sample| sample.at);
            Ok(Open { path: path.clone(), file, bytes: lines.len() as u64, full: false, last })
        };
        written().map_err(|source| {
            // What is left of it must not take room; if it cannot be removed, the next start does.
            fs::remove_file(&hidden).ok();
            RecordError::Write { path, source }
        })
    }

    fn no_room(&self, reason: &NoRoom) -> RecordError {
        let path: &std::path::Path = self.directory.as_ref();
        RecordError::Room { path: path.to_owned(), reason: reason.to_string() }
    }
}

impl Open {
    fn is_new(&self, sample: &QueueSample) -> bool {
        sample.at > self.last
    }

    fn sample(&mut self, directory: &Directory, sample: &QueueSample) -> Result<(), RecordError> {
        self.last = sample.at;
        if self.full {
            return Ok(());
        }
        let line = self.line(&Entry::Sample(Box::new(sample.clone())))?;
        let fits = self.bytes + line.len() as u64 <= directory.limits.file_bytes;
        if fits && directory.has_room(line.len() as u64).is_ok() {
            return self.write(&line);
        }
        self.full = true;
        let line = self.line(&Entry::Full)?;
        self.write(&line)
    }

    fn event(&mut self, event: &Event) -> Result<(), RecordError> {
        let entry = match event {
            Event::Began(episode) => Entry::Began(Box::new(episode.clone())),
            Event::Reconsidered(episode) => Entry::Reconsidered(Box::new(episode.clone())),
            Event::Ended(episode) => Entry::Ended(Box::new(episode.clone())),
        };
        let line = self.line(&entry)?;
        self.write(&line)?;
        // Events are rare, and what one looks for after a power failure.
        self.file.sync_data().map_err(|source| self.failed(source))
    }

    fn line(&self, entry: &Entry) -> Result<Vec<u8>, RecordError> {
        entry.line().map_err(|error| self.failed(error.into()))
    }

    /// A line is one write: what a kill can tear is the last line.
    fn write(&mut self, line: &[u8]) -> Result<(), RecordError> {
        self.bytes += line.len() as u64;
        self.file.write_all(line).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> RecordError {
        RecordError::Write { path: self.path.clone(), source }
    }
}
