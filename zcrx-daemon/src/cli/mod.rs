//! The commands of `zcrxd`, one file each.

mod check;
mod check_config;
mod diagnose;
mod exit;
mod health;
mod live;
mod nic;
mod pages;
mod probes;
mod qualify;
mod queues;
mod replay;
mod run;
mod runbook;
mod send;
mod top;

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use rustix::event::{PollFd, PollFlags, poll};

pub use exit::Exit;

const AFTER_HELP: &str = "\
Exit codes:
  0  success
  1  the command ran, and its result is bad (wrong data, a stop that took too long)
  2  the command line or the configuration is invalid: another attempt fails too
  3  this host refuses it now (port in use, no such interface, missing capability, another zcrxd)";

/// Makes Linux io_uring zero-copy receive (zcrx) observable.
#[derive(Debug, Parser)]
#[command(name = "zcrxd", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Observe the zcrx queues of this host, and receive on queues of zcrxd
    Run(Box<run::Args>),
    /// Check what this host supports (kernel, zcrx, probes, privileges, interfaces), with a fix for each problem
    Check(check::Args),
    /// Check a configuration file and print it with every default
    CheckConfig(check_config::Args),
    /// Send test data to a queue with the sink `verify`, and wait for its verdict
    Send(send::Args),
    /// Show interfaces, prepare them for zcrx, and restore them
    Nic(nic::Args),
    /// Test whether a driver can be trusted with zcrx: prepare, receive, starve, restore
    Qualify(qualify::Args),
    /// Attach every probe, report which ones this kernel supports, and detach them
    Probes(probes::Args),
    /// Show every zcrx queue of any process on this host, as the kernel sees it
    Queues(queues::Args),
    /// Report problems of queues with their causes and remedies
    Diagnose(diagnose::Args),
    /// Show every queue live in a terminal, or step through a recording
    Top(top::Args),
    /// Print a recording sample by sample
    Replay(replay::Args),
    /// Ask the running zcrxd whether it is alive; for probes of containers
    Health(health::Args),
    /// Print what an alert or a cause means and what to do
    Runbook(runbook::Args),
    /// Write man pages and shell completions for packages
    #[command(hide = true)]
    Pages(pages::Args),
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                // If standard error is closed, the message has no reader.
                error.print().ok();
                return Exit::Usage.into();
            }
            // Help and version are results.
            let text = error.render();
            print(&if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() });
            return if OUTPUT_LOST.load(Ordering::Relaxed) { Exit::Bad } else { Exit::Done }.into();
        }
    };
    let exit = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::CheckConfig(args) => check_config::run(&args),
        Command::Send(args) => send::run(&args),
        Command::Nic(args) => nic::run(&args),
        Command::Qualify(args) => qualify::run(&args),
        Command::Probes(args) => probes::run(&args),
        Command::Queues(args) => queues::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Runbook(args) => runbook::run(&args),
        Command::Pages(args) => pages::run(&args),
    };
    // A result that could not be written is no success, whatever the command found.
    let exit = if exit == Exit::Done && OUTPUT_LOST.load(Ordering::Relaxed) { Exit::Bad } else { exit };
    exit.into()
}

/// Whether a result could not be written.
static OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// Prints a result. A closed pipe is no error: its reader has read enough. Any other error, such as a full disk, ends the
/// command with an exit code that is not 0.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) else { return };
    if error.kind() != std::io::ErrorKind::BrokenPipe && !OUTPUT_LOST.swap(true, Ordering::Relaxed) {
        complain(&format!(
            "cannot write the result: {error}; make room where the output goes, then run the command again"
        ));
    }
}

/// How long an error message waits for a standard error whose pipe is full.
const STDERR_LIMIT: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };

/// Prints an error, each line with the name of the program. Gives up on a pipe that stays full, so the process can exit.
fn complain(error: &dyn std::fmt::Display) {
    let mut stderr = std::io::stderr();
    for line in error.to_string().lines() {
        if !is_writable(&stderr) {
            return;
        }
        writeln!(stderr, "zcrxd: {line}").ok();
    }
}

/// Waits until there is room for a line, at most [`STDERR_LIMIT`].
fn is_writable(file: &impl AsFd) -> bool {
    !matches!(poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&STDERR_LIMIT)), Ok(0))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
