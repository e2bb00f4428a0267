//! The project's chores: `cargo xtask --help`.

mod setup;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::tools::cache::Cache;

/// zcrxd's chores.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Chore {
    /// Make this machine able to build the eBPF object
    Setup,
    /// Run every check there is
    Test(test::Options),
}

fn main() -> ExitCode {
    match run(&Chore::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(chore: &Chore) -> Result<()> {
    let cache = Cache::open()?;
    match chore {
        Chore::Setup => setup::run(&cache).map(drop),
        Chore::Test(options) => test::run(&cache, options),
    }
}
