//! The project's chores: `cargo xtask --help`.

mod lab;
mod setup;
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
    /// Boot real kernels with a software NIC that hosts zcrx queues
    Lab(lab::LabArguments),
}

fn main() -> ExitCode {
    match run(Chore::parse()) {
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

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Setup => setup::run(&Cache::open()?).map(drop),
        Chore::Lab(arguments) => lab::run(arguments),
    }
}
