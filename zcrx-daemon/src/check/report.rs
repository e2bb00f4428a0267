//! The report as plain data.

use serde::{Deserialize, Serialize};

use super::Facts;

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything needed is present.
    Pass,
    /// zcrxd works with less information or fewer features.
    Warn,
    /// A main purpose of zcrxd does not work.
    Fail,
    /// Not checked; the finding says why.
    Skip,
}

impl Verdict {
    /// Its name in text and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        }
    }
}

/// Subject of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The running kernel.
    Kernel,
    /// Build options of the kernel.
    Configuration,
    /// io_uring and zcrx.
    IoUring,
    /// Privileges of this process.
    Privileges,
    /// How the probes attached.
    Probes,
    /// Network interfaces.
    Interfaces,
    /// Which causes can be named for queues of other programs.
    Causes,
}

impl Group {
    /// Heading of the group in text.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Kernel => "Kernel",
            Self::Configuration => "Kernel configuration",
            Self::IoUring => "io_uring and zcrx",
            Self::Privileges => "Privileges of this process",
            Self::Probes => "Probes",
            Self::Interfaces => "Interfaces",
            Self::Causes => "Causes that zcrxd can name",
        }
    }
}

/// Result of one check, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Subject of the check.
    pub group: Group,
    /// Name of the check: stable between releases, unique in its group and interface.
    pub name: String,
    /// The interface, for checks of an interface.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interface: Option<String>,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, with the reason for the verdict.
    pub found: String,
    /// What to do, for a verdict that something can change.
    pub remedy: Option<String>,
}

impl Finding {
    /// Creates a finding without a remedy.
    pub(super) fn new(group: Group, name: &str, verdict: Verdict, found: impl Into<String>) -> Self {
        Self { group, name: name.to_owned(), interface: None, verdict, found: found.into(), remedy: None }
    }

    /// Adds the remedy.
    pub(super) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}

/// Number of findings with each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of `pass`.
    pub pass: usize,
    /// Number of `warn`.
    pub warn: usize,
    /// Number of `fail`.
    pub fail: usize,
    /// Number of `skip`.
    pub skip: usize,
}

impl Summary {
    fn of(findings: &[Finding]) -> Self {
        let mut summary = Self::default();
        for finding in findings {
            match finding.verdict {
                Verdict::Pass => summary.pass += 1,
                Verdict::Warn => summary.warn += 1,
                Verdict::Fail => summary.fail += 1,
                Verdict::Skip => summary.skip += 1,
            }
        }
        summary
    }
}

/// What this host supports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// Version of zcrxd.
    pub version: String,
    /// Kernel release, if the kernel says.
    pub kernel: Option<String>,
    /// Machine, if the kernel says.
    pub machine: Option<String>,
    /// Number of findings by verdict.
    pub summary: Summary,
    /// The findings, group by group.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    pub(super) fn new(facts: &Facts, findings: Vec<Finding>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: facts.kernel.release.clone().ok(),
            machine: facts.kernel.machine.clone().ok(),
            summary: Summary::of(&findings),
            findings,
        }
    }

    /// Whether a main purpose of zcrxd does not work on this host.
    pub const fn has_failed(&self) -> bool {
        self.summary.fail > 0
    }
}
