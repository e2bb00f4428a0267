//! Configuration: one TOML file, and flags that override it.
//!
//! Errors name the place in the input (`zcrxd.toml:7:18`, or the flag), with what is
//! allowed and how to remedy it, and everything that is wrong is said at once. The file's language ([`file`]) and
//! the flags ([`Flags`]) both end as drafts; `check` makes a [`Config`] of them or says why it cannot.

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
pub use said::Problem;
pub use size::parse_size;

/// The web endpoint's default address.
pub const DEFAULT_WEB_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9965);

/// How often queues are looked at, if nothing else is said: cheap enough for any host, and often enough to name a cause
/// within two seconds.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// What the daemon does: checked, complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// The web endpoint.
    pub web: Web,
    /// Handling of capabilities.
    pub privileges: Privileges,
    /// Whether to attach probes.
    pub probes: bool,
    /// How they are attached.
    pub probe_options: probe::Options,
    /// How often queues are looked at for a diagnosis.
    pub interval: Duration,
    /// Where episodes are recorded; `None` for nowhere.
    pub recordings: Option<PathBuf>,
    /// What is logged, and how.
    pub log: Log,
    /// Where the lock of the one daemon lives; `None` for the user's own place.
    pub runtime_dir: Option<PathBuf>,
    /// Receive queues; without any, zcrxd only observes.
    pub queues: Vec<QueueConfig>,
}

/// The web endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Where it listens, at least one place.
    pub listen: Vec<WebAddress>,
    /// Whether it listens on the sockets that systemd hands over instead.
    pub systemd_socket: bool,
    /// Whether `/healthz` and `/readyz` answer without a password.
    pub open_health_paths: bool,
    /// The web configuration: TLS, users, headers.
    pub config_file: Option<PathBuf>,
}

/// Handling of capabilities once the probes are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    /// Whether those that are not needed any more are given up.
    pub drop: bool,
    /// Those that stay nevertheless.
    pub keep: Vec<Capability>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives as `RUST_LOG` has them, which goes before this.
    pub level: String,
    /// Form of a log line; `None` for the journal where standard error is the journal, else text.
    pub format: Option<LogFormat>,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// Straight to systemd's journal, each field as a field.
    Journal,
}

/// Why there is no [`Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something in it is wrong: everything that is, a line each.
    #[error("{}", Lines(.0))]
    Wrong(Vec<Problem>),
}

/// Reads the file, if there is one, lays the flags over it, and checks what comes out.
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
    /// The effective configuration, every default spelled out, in the file's own language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        effective::write(self, f)
    }
}

#[cfg(test)]
mod tests;
