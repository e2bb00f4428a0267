//! The commands of `zcrxd`, one file each.

mod check;
mod check_config;
mod diagnose;
mod exit;
mod live;
mod nic;
mod pages;
mod probes;
mod queues;
mod replay;
mod run;
mod send;
mod top;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::Exit;

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  done, and the result is bad (data was not what was sent, the end took too long)
  2  the command line or the configuration is wrong: the same will fail again
  3  this host does not allow it now (port in use, no such interface, missing capability, another zcrxd)";

/// Makes Linux io_uring zero-copy receive (zcrx) observable.
#[derive(Debug, Parser)]
#[command(name = "zcrxd", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Observe this host's zcrx queues, and receive on own ones
    Run(Box<run::Args>),
    /// Tell what this host can do: kernel, zcrx, probes, privileges, interfaces, and what would remedy the rest
    Check(check::Args),
    /// Check a configuration file and print what it amounts to
    CheckConfig(check_config::Args),
    /// Send test data to a queue with sink `verify`, and wait for its verdict
    Send(send::Args),
    /// Look at interfaces, prepare them for zcrx, and put them back
    Nic(nic::Args),
    /// Attach the probes, tell which this kernel allows and what is lost, and detach them
    Probes(probes::Args),
    /// Show every zcrx queue on this host as the kernel has it, whoever owns it
    Queues(queues::Args),
    /// Say what is wrong with a queue, why, and what to do
    Diagnose(diagnose::Args),
    /// Watch every queue live in a terminal, or step through a recording
    Top(top::Args),
    /// Go through a recording, sample by sample
    Replay(replay::Args),
    /// Write the man pages and the shells' completions that packages carry
    #[command(hide = true)]
    Pages(pages::Args),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // There is nobody left to tell if this fails.
            error.print().ok();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let exit = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Nic(args) => nic::run(&args),
        Command::Probes(args) => probes::run(&args),
        Command::Queues(args) => queues::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Pages(args) => pages::run(&args),
    };
    exit.into()
}

/// Prints a result. Whoever closed the pipe has read enough.
fn print(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

/// Prints what went wrong, each line with the program's name.
fn complain(error: &dyn std::fmt::Display) {
    let mut stderr = std::io::stderr();
    for line in error.to_string().lines() {
        writeln!(stderr, "zcrxd: {line}").ok();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
