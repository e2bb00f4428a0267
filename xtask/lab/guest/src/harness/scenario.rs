//! What a scenario is.

use std::fmt;

use anyhow::Result;
use zcrx_lab_guest::protocol::{Need, ScenarioInfo};

/// Exit status of a scenario that found out that it cannot run here.
pub(crate) const SKIPPED: i32 = 77;

/// Documented statements that a scenario asserts on a real kernel.
pub(crate) enum Proof {
    /// zcrxd names these causes first.
    Causes(&'static [&'static str]),
    /// Receives end with these errnos, and zcrxd does what `docs/receive.md` says.
    Completions(&'static [&'static str]),
    /// Registrations are refused with these errnos.
    Registrations(&'static [&'static str]),
    /// zcrxd uses these features of the kernel, or works without them.
    Features(&'static [&'static str]),
}

impl Proof {
    /// Returns each statement as the daemon's table of proofs has it, for example `cause never_returned`.
    fn subjects(&self) -> Vec<String> {
        let (kind, names) = match self {
            Self::Causes(names) => ("cause", names),
            Self::Completions(names) => ("completion", names),
            Self::Registrations(names) => ("registration", names),
            Self::Features(names) => ("feature", names),
        };
        names.iter().map(|name| format!("{kind} {name}")).collect()
    }
}

/// One scenario.
pub(crate) struct Scenario {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// What it needs of the kernel.
    pub needs: &'static [Need],
    /// What zcrxd documents and this scenario asserts; `docs/causes.md` and `docs/receive.md` name it there.
    pub proves: &'static [Proof],
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
            proves: self.proves.iter().flat_map(Proof::subjects).collect(),
            limit: self.limit,
            default: self.default,
            drivers: crate::scenarios::ON_DRIVERS.contains(&self.name),
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
