//! The report as plain data.

use serde::{Deserialize, Serialize};

use super::Facts;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Pass,
    /// zcrxd works, and knows or does less.
    Warn,
    /// Something that zcrxd is for cannot be had.
    Fail,
    /// Not looked at, or it would make no difference; the finding says why.
    Skip,
}

impl Verdict {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The running kernel.
    Kernel,
    /// What it was built with.
    Configuration,
    /// io_uring and zcrx.
    IoUring,
    /// What this process may do.
    Privileges,
    /// The probes, as they attached just now.
    Probes,
    /// Network interfaces.
    Interfaces,
}

impl Group {
    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kernel => "Kernel",
            Self::Configuration => "Kernel configuration",
            Self::IoUring => "io_uring and zcrx",
            Self::Privileges => "Privileges of this process",
            Self::Probes => "Probes",
            Self::Interfaces => "Interfaces",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub group: Group,
    /// What was looked at; the same from release to release, unique in its group and interface.
    pub name: String,
    /// The interface, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<String>,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found, with the reason for the verdict.
    pub found: String,
    /// What would remedy it, where something would.
    pub remedy: Option<String>,
}

impl Finding {
    /// A finding without a remedy.
    pub(super) fn new(group: Group, name: &str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { group, name: name.to_owned(), interface: None, verdict, found: found.into(), remedy: None }
    }

    /// The same with what remedies it.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// How many findings there are of each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// As it should be.
    pub pass: usize,
    /// Less than there could be.
    pub warn: usize,
    /// Not to be had.
    pub fail: usize,
    /// Not looked at.
    pub skip: usize,
}

/// What this host can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Version of zcrxd.
    pub version: String,
    /// Kernel release, if the kernel says.
    pub kernel: Option<String>,
    /// Machine, if the kernel says.
    pub machine: Option<String>,
    /// Counts.
    pub summary: Summary,
    /// The findings, group by group.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    pub(super) fn new(facts: &Facts, findings: Vec<Finding>) -> Self {
        let mut summary = Summary::default();
        for finding in &findings {
            *match finding.verdict {
                Verdict::Pass => &mut summary.pass,
                Verdict::Warn => &mut summary.warn,
                Verdict::Fail => &mut summary.fail,
                Verdict::Skip => &mut summary.skip,
            } += 1;
        }
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: facts.kernel.release.clone().ok(),
            machine: facts.kernel.machine.clone().ok(),
            summary,
            findings,
        }
    }

    /// Whether something that zcrxd is for cannot be had.
    pub const fn has_failed(&self) -> bool {
        self.summary.fail > 0
    }
}
