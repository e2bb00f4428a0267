//! Words of the configuration: which backend, and which sink with which destination.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::model::BackendKind;

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum BackendChoice {
    /// The best backend that works.
    #[default]
    Auto,
    /// This backend, or none.
    Only(BackendKind),
}

/// Destination of received data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SinkConfig {
    /// Discards the data.
    #[default]
    Discard,
    /// Compares the data with the test pattern of [`super::pattern`], and sends a verdict to the sender.
    Verify,
    /// Sends the data to another socket: one connection for each accepted connection.
    Forward(Destination),
    /// Writes each connection's data to a new file in this directory.
    File(PathBuf),
}

/// A socket to forward to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `HOST:PORT`; a name is resolved at the start, and again when none of its addresses can be connected to.
    Tcp(String),
    /// A Unix stream socket.
    Unix(PathBuf),
}

impl SinkConfig {
    /// The name used in samples: without the destination.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Discard => "discard",
            Self::Verify => "verify",
            Self::Forward(_) => "forward",
            Self::File(_) => "file",
        }
    }

    /// The configured destination; `None` for a sink without one.
    pub fn destination(&self) -> Option<String> {
        match self {
            Self::Forward(destination) => Some(destination.to_string()),
            Self::File(directory) => Some(directory.display().to_string()),
            Self::Discard | Self::Verify => None,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A name of no backend or sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseChoiceError {
    /// No such backend.
    #[error("unknown backend {0:?}: use auto, device, nodev or copy")]
    Backend(String),
    /// No such sink.
    #[error(
        "unknown sink {0:?}: use discard, verify, forward:HOST:PORT, forward:unix:PATH or file:DIRECTORY"
    )]
    Sink(String),
}

impl FromStr for BackendChoice {
    type Err = ParseChoiceError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let kinds = [BackendKind::Device, BackendKind::Nodev, BackendKind::Copy];
        match kinds.into_iter().find(|kind| kind.name() == word) {
            Some(kind) => Ok(Self::Only(kind)),
            None if word == "auto" => Ok(Self::Auto),
            None => Err(ParseChoiceError::Backend(word.to_owned())),
        }
    }
}

impl FromStr for SinkConfig {
    type Err = ParseChoiceError;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let error = || ParseChoiceError::Sink(word.to_owned());
        match word {
            "discard" => return Ok(Self::Discard),
            "verify" => return Ok(Self::Verify),
            _ => {}
        }
        if let Some(directory) = word.strip_prefix("file:").filter(|directory| !directory.is_empty()) {
            return Ok(Self::File(directory.into()));
        }
        let to = word.strip_prefix("forward:").ok_or_else(error)?;
        if let Some(path) = to.strip_prefix("unix:") {
            return if path.is_empty() {
                Err(error())
            } else {
                Ok(Self::Forward(Destination::Unix(path.into())))
            };
        }
        let (host, port) = to.rsplit_once(':').ok_or_else(error)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(error());
        }
        Ok(Self::Forward(Destination::Tcp(to.to_owned())))
    }
}

impl TryFrom<String> for BackendChoice {
    type Error = ParseChoiceError;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

impl TryFrom<String> for SinkConfig {
    type Error = ParseChoiceError;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}
