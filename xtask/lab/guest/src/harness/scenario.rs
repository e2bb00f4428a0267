//! What a scenario is.

use std::fmt;

use anyhow::Result;
use zcrx_lab_guest::protocol::{Need, ScenarioInfo};

/// Exit status of a scenario that found out that it cannot run here.
pub(crate) const SKIPPED: i32 = 77;

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// What it needs of the kernel.
    pub needs: &'static [Need],
    /// Hard stop, seconds.
    pub limit: u64,
    /// Whether the default set has it.
    pub default: bool,
    /// The scenario.
    pub run: fn() -> Result<()>,
}

impl Scenario {
    /// What the host may know.
    pub(crate) fn info(&self) -> ScenarioInfo {
        ScenarioInfo {
            name: self.name.to_owned(),
            about: self.about.to_owned(),
            needs: self.needs.to_vec(),
            limit: self.limit,
            default: self.default,
        }
    }
}

/// Ends a scenario because something it cannot know beforehand is missing.
#[derive(Debug)]
pub(crate) struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}
