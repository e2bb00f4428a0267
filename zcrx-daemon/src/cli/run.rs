//! `zcrxd run`.

use std::path::PathBuf;

use super::{Exit, complain};
use crate::config::{self, Flags};
use crate::daemon::{self, Fault};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
    /// For tests of the watchdog: the fault that SIGUSR1 triggers
    #[arg(long, value_name = "FAULT", hide = true)]
    fault: Option<Fault>,
}

pub(super) fn run(args: &Args) -> Exit {
    let config = match config::load(args.config.as_deref(), &args.flags) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return (&error).into();
        }
    };
    let read_again = || config::load(args.config.as_deref(), &args.flags);
    match daemon::run(config, &read_again, args.fault) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error);
            (&error).into()
        }
    }
}
