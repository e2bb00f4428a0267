//! Results on their way from a guest to the host: one JSON object per line, a [`Message::File`] followed by its bytes.
//!
//! The guest speaks, the host listens: what a guest is to run is on its command line.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Name of the virtio-serial port that carries the results.
pub const PORT: &str = "zcrx.results";

/// What a scenario needs of the kernel it runs on; found out by asking that kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// A virtual machine of its own: the scenario would disturb a machine in use.
    Guest,
    /// io_uring with zero-copy receive compiled in. Linux 6.15.
    Zcrx,
    /// Interface queues without a device. Linux 7.1.
    Nodev,
    /// Notifications of failed allocations and copies. Linux 7.2.
    Events,
    /// The NIC that was chosen for the guest, in a pair.
    Nic,
    /// Type information of the running kernel.
    Btf,
}

impl Need {
    /// Every need.
    pub const ALL: [Self; 6] = [Self::Guest, Self::Zcrx, Self::Nodev, Self::Events, Self::Nic, Self::Btf];

    /// The name shown to people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Zcrx => "zcrx",
            Self::Nodev => "nodev",
            Self::Events => "events",
            Self::Nic => "nic",
            Self::Btf => "btf",
        }
    }
}

/// A scenario as the host knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioInfo {
    /// Its name on the command line and in results.
    pub name: String,
    /// What it shows, in one line.
    pub about: String,
    /// What it needs of the kernel.
    pub needs: Vec<Need>,
    /// Documented statements that it asserts, for example `cause never_returned`.
    #[serde(default)]
    pub proves: Vec<String>,
    /// Hard stop, seconds. Generous: time never decides a result.
    pub limit: u64,
    /// Whether the default set has it.
    pub default: bool,
    /// Whether the selection for the kernel's own NIC drivers has it.
    pub drivers: bool,
}

/// What facts of judged cases are called, before their number.
pub const JUDGED_CASE: &str = "accuracy/case/";

/// A random case, what was made, and what zcrxd said of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JudgedCase {
    /// Its number.
    pub number: u64,
    /// What was drawn.
    pub drawn: String,
    /// The cause that was made, where the ledgers show its harm; `None` for a healthy case.
    pub made: Option<String>,
    /// Why the case does not count.
    pub left_out: Option<String>,
    /// First causes as they came, each with seconds since the data first allowed a verdict.
    pub said: Vec<(f64, Option<String>)>,
    /// Confidence in the last of them.
    pub confidence: Option<String>,
    /// Its evidence.
    pub evidence: String,
    /// Samples since the data first allowed a verdict, up to the one from which the verdict was right.
    pub samples: Option<u64>,
    /// Alarms on a queue that had lost no packet and failed no receive.
    pub false_alarms: Vec<String>,
    /// Seconds for which the queue was healthy.
    pub healthy_seconds: f64,
    /// The program's ledger at the end.
    pub ledger: String,
}

/// How a scenario ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All it asserts holds.
    Passed,
    /// Something does not hold; says what.
    Failed(String),
    /// It was not run; says why.
    Skipped(String),
}

/// What the demo shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demo {
    /// zcrxd answers: its pages can be opened.
    Ready,
    /// Text to print at once.
    Line(String),
    /// A line of the summary.
    Summary(String),
    /// Something that is not as it must be: the demo has failed.
    Wrong(String),
}

/// One line from the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Message {
    /// The guest is up.
    Hello {
        /// Kernel release, as uname says it.
        release: String,
        /// For each need, what stands in its way; `None` if it is met.
        needs: BTreeMap<Need, Option<String>>,
    },
    /// Something measured that belongs in the table of kernels.
    Fact {
        /// What was looked at.
        name: String,
        /// What was found.
        value: String,
    },
    /// From the demo.
    Demo(Demo),
    /// A scenario starts.
    Begin {
        /// Its name.
        scenario: String,
    },
    /// An artefact of a scenario; its bytes follow the line.
    File {
        /// The scenario's name.
        scenario: String,
        /// File name.
        name: String,
        /// How many bytes follow.
        bytes: u64,
    },
    /// A scenario has ended.
    End {
        /// Its name.
        scenario: String,
        /// How.
        outcome: Outcome,
        /// How long it took, milliseconds.
        milliseconds: u64,
    },
    /// Everything that was asked for has been run, or the kernel is no longer fit for more: the guest is going down.
    Done {
        /// Scenarios that were not started, because the kernel was left in a state that others should not start from.
        left: Vec<String>,
    },
}
