//! The lab's guest: init, scenarios and results in one static program.
//!
//! `init run NAME…` is process 1 of a virtual machine (or of a pid namespace on the machine's own kernel) and runs
//! scenarios one after another; `scenario NAME` is one of them in a process of its own; `list` prints the scenarios for the
//! host.

mod demo;
mod harness;
mod init;
mod kmsg;
mod results;
mod scenarios;
mod service;

use anyhow::{Context, Result, bail};

use service::Plan;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let names: Vec<String> = arguments.collect();
    match command.as_str() {
        "list" => {
            let list: Vec<_> = scenarios::all().map(harness::scenario::Scenario::info).collect();
            println!("{}", serde_json::to_string(&list).context("cannot write the list")?);
            Ok(())
        }
        "run" => init::run(harness::features::Place::Guest, &names),
        "here" => init::run(harness::features::Place::Host, &names),
        "shell" => init::shell(),
        "demo" => {
            let seconds = names.first().and_then(|seconds| seconds.parse().ok());
            demo::run(seconds.context("demo needs its length in seconds")?)
        }
        "hello" => init::hello(),
        "list-service" => list(Plan::Life),
        "list-quick-start" => list(Plan::QuickStart),
        "service" => service::run(Plan::Life),
        "quick-start" => service::run(Plan::QuickStart),
        "list-container" => list(Plan::Container),
        "container" => service::run(Plan::Container),
        "scenario" => scenarios::run(names.first().context("which scenario?")?),
        other => bail!(
            "unknown command {other:?}: list, run, here, shell, demo, hello, scenario, list-service, list-quick-start, list-container, service, quick-start or container"
        ),
    }
}

fn list(plan: Plan) -> Result<()> {
    println!("{}", serde_json::to_string(&service::list(plan)).context("cannot write the list")?);
    Ok(())
}
