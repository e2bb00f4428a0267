//! The package and the service on a real Debian with systemd: a unit of that system runs this program, which goes
//! through the lifecycle of the package, step by step. Each step starts from what the one before it left.

mod monitoring;
mod package;
mod queries;
mod stages;
mod webhook;
mod wire;

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::{Message, Outcome, ScenarioInfo};

use crate::harness::features::{self, Place};
use crate::harness::{self, facts};
use crate::init;
use crate::results::Results;

/// One step.
struct Step {
    name: &'static str,
    about: &'static str,
    /// Hard stop, seconds.
    limit: u64,
    run: fn() -> Result<()>,
}

/// Every step, in their order.
const STEPS: [Step; 9] = [
    package::INSTALLED,
    package::LEAST_PRIVILEGE,
    stages::RECEIVES,
    stages::RELOADED,
    stages::RESTARTED,
    stages::WATCHED,
    monitoring::ALERTED,
    monitoring::QUERIED,
    package::PURGED,
];

/// What the host may know.
pub(crate) fn list() -> Vec<ScenarioInfo> {
    let info = |step: &Step| ScenarioInfo {
        name: step.name.to_owned(),
        about: step.about.to_owned(),
        needs: Vec::new(),
        proves: Vec::new(),
        limit: step.limit,
        default: true,
        drivers: false,
    };
    STEPS.iter().map(info).collect()
}

/// Goes through the steps until one fails, and ends the machine.
pub(crate) fn run() -> Result<()> {
    let ran = Results::port().and_then(steps);
    if let Err(error) = ran {
        println!("zcrx-lab: {error:#}");
    }
    init::power_off()
}

fn steps(mut results: Results) -> Result<()> {
    harness::clear_work()?;
    results
        .say(&Message::Hello { release: harness::kernel_release(), needs: features::needs(Place::Guest) })?;
    let mut steps = STEPS.iter();
    for step in steps.by_ref() {
        results.say(&Message::Begin { scenario: step.name.to_owned() })?;
        let started = Instant::now();
        let outcome = match (step.run)() {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        for fact in facts::take()? {
            results.say(&fact)?;
        }
        for (name, command) in [
            ("journal.log", &["journalctl", "--no-pager", "--output=short-monotonic", "--lines=400"][..]),
            ("status.log", &["systemctl", "--no-pager", "status", "zcrxd.service"]),
        ] {
            let said = Command::new(command[0]).args(&command[1..]).output();
            results.file(step.name, name, &said.map(|said| said.stdout).unwrap_or_default())?;
        }
        for entry in fs::read_dir(harness::artefacts()).context("cannot read the artefacts")? {
            let path = entry.context("cannot read the artefacts")?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            results.file(step.name, &name, &fs::read(&path).unwrap_or_default())?;
        }
        let failed = matches!(outcome, Outcome::Failed(_));
        let milliseconds = started.elapsed().as_millis() as u64;
        results.say(&Message::End { scenario: step.name.to_owned(), outcome, milliseconds })?;
        if failed {
            break;
        }
    }
    results.say(&Message::Done { left: steps.map(|step| step.name.to_owned()).collect() })
}
