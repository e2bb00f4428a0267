//! Configuration: one TOML file, and flags that override it.
//!
//! Errors name the place in the input (`zcrxd.toml:7:18`, or the flag), the allowed values
//! and the remedy. zcrxd reports all errors at once. The file's format ([`file`]) and
//! the flags ([`Flags`]) are converted to drafts; `check` turns a draft into a [`Config`] or reports its errors.

mod address;
mod check;
mod effective;
mod file;
mod flags;
mod interval;
mod said;
mod size;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::kernel::Capability;
use crate::probe;
use crate::receive::QueueConfig;

pub use address::WebAddress;
pub use flags::{Flags, QueueFlags};
pub use interval::parse_interval;
pub use said::Problem;
pub use size::parse_size;

/// The web endpoint's default address.
pub const DEFAULT_WEB_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9965);

/// Default time between two samples: cheap enough for any host, and short enough to name a cause
/// within two seconds.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Complete, valid configuration of the daemon.
#[derive(Clone, Debug)]
pub struct Config {
    /// The web endpoint.
    pub web: Web,
    /// Handling of capabilities.
    pub privileges: Privileges,
    /// Whether to attach probes.
    pub probes: bool,
    /// Mechanism that attaches them.
    pub probe_options: probe::Options,
    /// Whether probes stay attached over a restart of the service, and their counts go on.
    pub keep_counts: bool,
    /// Time between two samples for the diagnosis.
    pub interval: Duration,
    /// Directory for recordings of episodes; `None` for no recordings.
    pub recordings: Option<PathBuf>,
    /// What is logged, and how.
    pub log: Log,
    /// Directory of the daemon's lock; `None` for the user's default.
    pub runtime_dir: Option<PathBuf>,
    /// Receive queues; without any, zcrxd only observes.
    pub queues: Vec<QueueConfig>,
}

/// The web endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Addresses to listen on, at least one.
    pub listen: Vec<WebAddress>,
    /// Whether zcrxd listens on the sockets that systemd passes instead.
    pub systemd_socket: bool,
    /// Whether `/healthz` and `/readyz` answer without a password.
    pub open_health_paths: bool,
    /// Path that the metrics are served on.
    pub telemetry_path: String,
    /// Scrapes that may be under way at once; 0 for any number.
    pub max_requests: u32,
    /// The web configuration: TLS, users, headers.
    pub config_file: Option<PathBuf>,
}

/// Handling of capabilities once the probes are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Whether zcrxd drops the capabilities that it no longer needs.
    pub drop: bool,
    /// Capabilities that zcrxd keeps in any case.
    pub keep: Vec<Capability>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as in `RUST_LOG`, which has priority.
    pub level: String,
    /// Format of log lines; `None` for the journal if standard error is the journal, else text.
    pub format: Option<LogFormat>,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text lines.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// systemd's journal, with structured fields.
    Journal,
}

/// Errors of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// zcrxd cannot read the file.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The configuration is invalid: all errors, one per line.
    #[error("{}", Lines(.0))]
    Wrong(Vec<Problem>),
}

/// Reads the file, if there is one, overrides its values by the flags, and validates the result.
pub fn load(path: Option<&Path>, flags: &Flags) -> Result<Config, ConfigError> {
    let (name, text) = match path {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            (path.display().to_string(), text)
        }
        None => (String::new(), String::new()),
    };
    let document = said::Document { name: &name, text: &text };
    let mut problems = Vec::new();
    let config = file::parse(&document)
        .and_then(|draft| flags.lay_over(draft))
        .map(|draft| check::check(draft, &document, &mut problems))
        .map_err(|problem| ConfigError::Wrong(vec![problem]))?;
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Wrong(problems)) }
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Config {
    /// The effective configuration as TOML, with every default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        effective::write(self, f)
    }
}

#[cfg(test)]
mod tests;
