//! What the lab shows, one constant per scenario.

mod cost;
mod diagnosis;
mod lifecycle;
mod nic;
mod receive;
mod registration;

use std::fs;

use anyhow::{Context, Result};

use crate::harness;
use crate::harness::scenario::{SKIPPED, Scenario, Skip};

/// The selection for the kernel's own NIC drivers: what a driver's behaviour can change.
pub(crate) const ON_DRIVERS: &[&str] = &["zero-copy", "driver-prepares", "driver-recovers"];

/// Every scenario, in the order in which they run: cheap topics first.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    let topics =
        [lifecycle::FILES, registration::FILES, nic::FILES, receive::FILES, diagnosis::FILES, cost::FILES];
    topics.into_iter().flatten().copied().flatten()
}

/// Returns the scenario of that name.
pub(crate) fn find(name: &str) -> Option<&'static Scenario> {
    all().find(|scenario| scenario.name == name)
}

/// Runs one scenario in this process and leaves its verdict.
pub(crate) fn run(name: &str) -> Result<()> {
    let scenario = find(name).with_context(|| format!("there is no scenario {name}"))?;
    let Err(error) = (scenario.run)() else { return Ok(()) };
    // What was under way when a scenario is skipped is no part of the reason.
    let skip = error.downcast_ref::<Skip>().map(ToString::to_string);
    let skipped = skip.is_some();
    fs::write(harness::verdict(), skip.unwrap_or_else(|| format!("{error:#}")))
        .context("cannot leave the verdict")?;
    if !skipped {
        eprintln!("{error:?}");
    }
    let code = if skipped { SKIPPED } else { 1 };
    #[expect(clippy::exit, reason = "the exit status is the verdict's first word")]
    std::process::exit(code)
}
