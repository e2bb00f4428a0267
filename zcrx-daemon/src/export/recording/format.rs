//! What a recording consists of: lines of JSON, the first of them the header.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::model::{Episode, QueueKey, QueueSample};

/// What the header calls the format.
pub const FORMAT: &str = "zcrxd-recording";

/// The version that is written, and the only one that is read. A field more is no new version: readers pass over fields
/// they do not know, and miss none that may be absent. Anything else is.
pub const VERSION: u32 = 1;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// Version of the zcrxd that wrote it.
    pub zcrxd: String,
    /// Kernel release, as uname says it.
    pub kernel: String,
    /// When it was begun.
    pub written: SystemTime,
    /// The same moment by CLOCK_MONOTONIC, which all other times in the recording are by.
    pub monotonic: Duration,
    /// The queue.
    pub key: QueueKey,
    /// Which life of it.
    pub generation: u64,
    /// How many samples the diagnosis looked at, at most.
    pub window: usize,
}

/// Every other line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A sample.
    Sample(Box<QueueSample>),
    /// With the sample before, an episode began.
    Began(Box<Episode>),
    /// With the sample before, its cause was thought to be another.
    Reconsidered(Box<Episode>),
    /// It ended.
    Ended(Box<Episode>),
    /// From here on samples are left out, since the recording has reached its largest size.
    Full,
}

impl Entry {
    /// The line, with its end.
    pub(super) fn line(&self) -> serde_json::Result<Vec<u8>> {
        line(self)
    }
}

impl Header {
    /// The line, with its end.
    pub(super) fn line(&self) -> serde_json::Result<Vec<u8>> {
        line(self)
    }
}

fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
