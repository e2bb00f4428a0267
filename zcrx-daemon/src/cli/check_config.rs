//! `zcrxd check-config`.

use std::path::PathBuf;

use super::{Exit, complain, print};
use crate::config::{self, Flags};
use crate::export::http::Access;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Configuration file (TOML)
    file: PathBuf,
}

/// Prints the effective configuration. Its first line is a comment with the result, so the output is a valid file.
pub(super) fn run(args: &Args) -> Exit {
    match config::load(Some(&args.file), &Flags::default()) {
        Ok(config) => {
            if let Err(error) = Access::load(config.web.config_file.as_deref()) {
                complain(&error);
                return Exit::Usage;
            }
            let queues = match config.queues.len() {
                0 => "no queues: zcrxd observes only".to_owned(),
                1 => "1 queue".to_owned(),
                many => format!("{many} queues"),
            };
            print(&format!("# {} is valid, {queues}\n{config}", args.file.display()));
            Exit::Done
        }
        Err(error) => {
            complain(&error);
            (&error).into()
        }
    }
}
