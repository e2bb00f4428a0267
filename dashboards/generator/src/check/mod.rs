//! Rules, dashboards and runbook, held against each other and against the metrics there are.

mod alerts;
mod coverage;
mod exceptions;
mod files;
mod lint;
mod manifests;
mod panels;
mod promtool;
mod runbook;

use std::ffi::OsString;

use anyhow::{Result, bail};

pub use self::promtool::Promtool;

/// A check, and what it has to complain about.
type Check = (&'static str, fn() -> Result<Vec<String>>);

const CHECKS: &[Check] = &[
    ("what is written from tables is current", files::check),
    ("every query holds, and names what exists", panels::check),
    ("every metric is looked at, or said not to be", coverage::check),
    ("dashboards keep the rules", lint::check),
    ("alerts say what they must", alerts::check),
    ("every alert has its page, and every page its alert", runbook::check),
];

/// How many checks need promtool.
pub const PROMTOOL_CHECKS: usize = promtool::CHECKS.len();

/// Passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Checks without a complaint.
    pub passed: usize,
    /// Checks with one.
    pub failed: usize,
    /// Checks that need what is not installed.
    pub skipped: usize,
}

/// Every check that needs nothing but the files.
pub fn all() -> Count {
    let count = CHECKS.iter().fold(Count::default(), |count, (name, check)| count.and(name, check()));
    match manifests::check().transpose() {
        Some(complaints) => count.and("manifests, chart and mixin are valid", complaints),
        None => Count { skipped: count.skipped + 1, ..count },
    }
}

/// Every check that needs promtool, which is on this `PATH`.
pub fn with_promtool(path: Option<OsString>) -> Count {
    let promtool = Promtool::new(path);
    promtool::CHECKS.iter().fold(Count::default(), |count, (name, check)| count.and(name, check(&promtool)))
}

/// Runs the checks as a task.
pub(super) fn documents() -> Result<()> {
    let count = all();
    if count.skipped > 0 {
        println!("{} of the checks were skipped", count.skipped);
    }
    if count.failed > 0 {
        bail!("{} of {} checks failed", count.failed, count.passed + count.failed);
    }
    Ok(())
}

impl Count {
    fn and(mut self, name: &str, complaints: Result<Vec<String>>) -> Self {
        let complaints = complaints.unwrap_or_else(|error| vec![format!("{error:#}")]);
        if complaints.is_empty() {
            println!("ok      {name}");
            self.passed += 1;
        } else {
            println!("FAILED  {name}");
            for complaint in complaints {
                println!("        {complaint}");
            }
            self.failed += 1;
        }
        self
    }
}
