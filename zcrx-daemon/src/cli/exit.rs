//! Exit codes.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::daemon::DaemonError;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done = 0,
    /// It ran, and its result is bad.
    Bad = 1,
    /// The command line or the configuration is wrong: the same will fail again.
    Usage = 2,
    /// The host does not allow it now.
    Host = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&ConfigError> for Exit {
    fn from(_: &ConfigError) -> Self {
        Self::Usage
    }
}

impl From<&DaemonError> for Exit {
    fn from(error: &DaemonError) -> Self {
        match error {
            DaemonError::Log(_) | DaemonError::Web(_) => Self::Usage,
            DaemonError::Hung | DaemonError::Impatient { .. } => Self::Bad,
            DaemonError::Instance(_)
            | DaemonError::Bind(_)
            | DaemonError::Receive(_)
            | DaemonError::GivenUp { .. }
            | DaemonError::System { .. } => Self::Host,
        }
    }
}
