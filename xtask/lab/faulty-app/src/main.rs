//! A zcrx application that is not zcrxd, with faults to choose from.
//!
//! It knows the truth about itself (what was delivered, what it returned, what it holds and why) and says it as one
//! JSON object per line, so that a test can hold what zcrxd says about another process against it. It shares zcrxd's kernel
//! structures and nothing else: area, refill ring and receive loop are its own, written the way the faults need them.

mod bare;
mod churn;
mod control;
mod epoll;
mod fault;
mod ledger;
mod many;
mod mapping;
mod queue;
mod raw;
mod receive;
mod refill;
mod register;
mod requests;
mod share;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A zcrx application with faults to choose from; speaks JSON lines on its standard output.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receive TCP streams on a zcrx queue, with or without a fault.
    Receive(receive::ReceiveArgs),
    /// Register queues and let go of them, many times, and say how often that succeeded.
    Churn(churn::ChurnArgs),
    /// Register a queue, well or badly, and say what the kernel answered; the errno is the exit status.
    Register(register::RegisterArgs),
    /// Ask for what cannot be received, once each, and say how each request completed.
    Requests(requests::RequestsArgs),
    /// Receive with the least loop there is: the yardstick for other loops.
    Bare(bare::BareArgs),
    /// Receive with epoll and read, without zcrx: the yardstick for copies.
    Epoll(epoll::EpollArgs),
    /// Share one queue among rings of several threads, and do what standard input orders.
    Share(share::ShareArgs),
    /// Keep many queues, files and processes.
    Many(many::ManyArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Receive(args) => receive::run(&args),
        Command::Churn(args) => churn::run(&args),
        Command::Register(args) => register::run(&args),
        Command::Requests(args) => requests::run(&args),
        Command::Bare(args) => bare::run(&args),
        Command::Epoll(args) => epoll::run(&args),
        Command::Share(args) => share::run(&args),
        Command::Many(args) => many::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("foreign: {error:#}");
            ExitCode::from(exit_status(&error))
        }
    }
}

/// The errno at the root of the error, where there is one: all of Linux's common ones fit an exit status.
fn exit_status(error: &anyhow::Error) -> u8 {
    let errno = error.chain().find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error());
    errno.and_then(|errno| u8::try_from(errno).ok()).unwrap_or(1)
}
