//! The package and the service on a real Debian with systemd: a unit of that system runs this program, which runs the steps
//! of a plan. Each step starts from the state that the step before it left.

mod container;
mod document;
mod monitoring;
mod package;
mod queries;
mod quick_start;
mod shell;
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

/// Steps that one machine goes through.
#[derive(Clone, Copy)]
pub(crate) enum Plan {
    /// The life of the package and of the service.
    Life,
    /// What a new user does.
    QuickStart,
    /// zcrxd in a container.
    Container,
}

impl Plan {
    fn steps(self) -> &'static [Step] {
        match self {
            Self::Life => &LIFE,
            Self::QuickStart => &QUICK_START,
            Self::Container => &CONTAINER,
        }
    }
}

const CONTAINER: [Step; 1] = [container::RUN];

const QUICK_START: [Step; 1] = [quick_start::FOLLOWED];

const LIFE: [Step; 10] = [
    package::INSTALLED,
    package::LEAST_PRIVILEGE,
    stages::RECEIVES,
    stages::RELOADED,
    stages::RESTARTED,
    stages::WATCHED,
    monitoring::ALERTED,
    monitoring::QUERIED,
    package::UPGRADED,
    package::PURGED,
];

/// Returns the steps of a plan for the host.
pub(crate) fn list(plan: Plan) -> Vec<ScenarioInfo> {
    let info = |step: &Step| ScenarioInfo {
        name: step.name.to_owned(),
        about: step.about.to_owned(),
        needs: Vec::new(),
        proves: Vec::new(),
        limit: step.limit,
        default: true,
        drivers: false,
    };
    plan.steps().iter().map(info).collect()
}

/// Runs the steps until one fails, then powers the machine off.
pub(crate) fn run(plan: Plan) -> Result<()> {
    let ran = Results::port().and_then(|results| steps(plan, results));
    if let Err(error) = ran {
        println!("zcrx-lab: {error:#}");
    }
    init::power_off()
}

fn steps(plan: Plan, mut results: Results) -> Result<()> {
    harness::clear_work()?;
    results
        .say(&Message::Hello { release: harness::kernel_release(), needs: features::needs(Place::Guest) })?;
    let mut steps = plan.steps().iter();
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
