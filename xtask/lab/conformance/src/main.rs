//! The contract of an interface queue, executed: the same random registrations, refill entries and traffic go to
//! zcrxd's software interface queue and to the kernel's, and both must answer alike.
//!
//! The software queue stands as the first version of the kernel's code described it; kernels have moved on since. Where
//! they differ, the difference has a name, a reason and a row in `docs/contract.md`; a difference without a name fails.

mod accounting;
mod difference;
mod kernel;
mod memory;
mod outcome;
mod registration;
mod request;
mod software;
mod spoil;
mod table;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use kernel::Target;

/// Holds zcrxd's software interface queue against the kernel's own.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Register at random, alone and in combination, and compare errno and geometry.
    Registrations(Registrations),
    /// Receive and return at random, without a device, and compare which buffers are delivered.
    Accounting(Accounting),
    /// Print the differences that have a name, as the documentation has them.
    Differences,
}

#[derive(Args)]
struct Registrations {
    /// Interface to register a queue of. `lo` shows how requests are checked and no more; without an interface,
    /// queues without a device are registered (Linux 7.1).
    #[arg(long)]
    interface: Option<String>,
    /// Index of the receive queue.
    #[arg(long, default_value_t = 0)]
    queue: u32,
    /// Random cases, beside each single mistake on its own.
    #[arg(long, default_value_t = 1000)]
    cases: u32,
    /// Seed of the random cases [default: a new one, which is printed].
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
struct Accounting {
    /// Random sequences of steps.
    #[arg(long, default_value_t = 200)]
    cases: u32,
    /// Seed of the random sequences [default: a new one, which is printed].
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("contract: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Registrations(args) => {
            let target = Target::new(args.interface.as_deref(), args.queue)?;
            registration::check(target, args.cases, seed(args.seed)).context("registrations")
        }
        Command::Accounting(args) => accounting::check(args.cases, seed(args.seed)).context("accounting"),
        Command::Differences => {
            print!("{}", table::markdown());
            Ok(())
        }
    }
}

/// Returns the given seed or a random one, and prints it, so that a failure can be repeated.
fn seed(given: Option<u64>) -> u64 {
    let seed = given.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
    println!("seed {seed}");
    seed
}
