//! Exit codes.

use std::process::ExitCode;

use crate::config::ConfigError;
use crate::daemon::DaemonError;

/// Result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The command did what the user asked for.
    Done = 0,
    /// The command ran, and its result is bad.
    Bad = 1,
    /// The command line or the configuration is invalid: another attempt fails too.
    Usage = 2,
    /// The host refuses it now; a later attempt may succeed.
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
            DaemonError::Hung { .. } => Self::Bad,
            DaemonError::Instance(_)
            | DaemonError::Bind(_)
            | DaemonError::Receive(_)
            | DaemonError::Dropped { .. }
            | DaemonError::System { .. } => Self::Host,
        }
    }
}
