//! `zcrxd run`.

use std::path::PathBuf;

use super::{Exit, complain};
use crate::config::{self, Flags};
use crate::daemon;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Exit {
    let config = match config::load(args.config.as_deref(), &args.flags) {
        Ok(config) => config,
        Err(error) => {
            complain(&error);
            return (&error).into();
        }
    };
    match daemon::run(&config) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error);
            (&error).into()
        }
    }
}
