//! The project's development commands: `cargo xtask --help`.

mod accuracy;
mod demo;
mod dist;
mod fleet;
mod markdown;
mod receiver;
mod regenerate;
mod setup;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use xtask_tools::cache::Cache;
use zcrx_lab_host as lab;

/// zcrxd's development commands: set-up, demo, tests, lab, packages.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Make this machine able to build the eBPF object
    Setup(setup::Options),
    /// Receive real TCP data, provoke a starvation, and show the verdict
    Demo(demo::Options),
    /// Write every file that is generated: reference pages, rules, dashboards, lists of scenarios
    Regenerate,
    /// Measure how often verdicts are right, on random situations of the queue model
    Accuracy(accuracy::Options),
    /// Run every check
    Test(test::Options),
    /// Measure what zcrxd costs, in instructions, and write docs/overhead.md
    Bench(lab::BenchOptions),
    /// Real kernels in virtual machines, with a software NIC
    Lab(lab::LabArguments),
    /// Many simulated hosts in a real Prometheus and Alertmanager: what they cost, and what a page storm leads to
    Fleet(fleet::Options),
    /// Build the Debian package, and the files that other packages are made of
    Dist(dist::Options),
    /// Recording rules, alerts, dashboards and their runbook
    Monitoring(zcrx_dashboards::Arguments),
}

fn main() -> ExitCode {
    match run(Command::parse()) {
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

fn run(command: Command) -> Result<()> {
    let cache = Cache::open()?;
    match command {
        Command::Setup(options) => setup::run_with(&cache, &options),
        Command::Demo(options) => demo::run(&cache, &options),
        Command::Accuracy(options) => accuracy::run(&options),
        Command::Regenerate => regenerate::run(),
        Command::Test(options) => test::run(&cache, &options),
        Command::Fleet(options) => fleet::run(&cache, &options),
        Command::Dist(options) => dist::run(&cache, &options),
        Command::Bench(options) => {
            setup::run(&cache)?;
            lab::bench(&options)
        }
        Command::Lab(arguments) => {
            let package = if let Some(architecture) = arguments.needs_package() {
                Some(dist::make(&cache, architecture)?)
            } else {
                if let Err(error) = setup::run(&cache) {
                    eprintln!("lab: {error:#}\nlab: going on without: zcrxd will have no probes");
                }
                None
            };
            lab::run(arguments, package.map(|made| made.deb).as_deref())
        }
        Command::Monitoring(arguments) => zcrx_dashboards::run(&arguments),
    }
}
