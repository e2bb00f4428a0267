//! Options for attaching probes.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::Mechanism;

/// What may be chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How programs get onto kernel functions.
    pub mechanism: MechanismChoice,
    /// Whether the kernel keeps statistics of runs: of all BPF programs on the host, at some 100 ns a run.
    pub statistics: bool,
    /// One buffer in so many is followed from the completion that delivers it until the kernel has it back; 0 for none. Costs
    /// the receivers of all queues on the host some 200 instructions for each completion, a fifth of what a fast one takes.
    pub residence: u32,
    /// Whether zcrxd registers a queue of its own to compare a snapshot with it. Other programs that observe the host see that
    /// registration.
    pub self_check: bool,
    /// Probes that are not attached, by name.
    pub disabled: BTreeSet<String>,
}

/// How programs get onto kernel functions. Tracepoints and iterators are not affected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MechanismChoice {
    /// The best that the kernel allows, each probe by itself.
    #[default]
    Auto,
    /// BPF trampolines only.
    Fexit,
    /// Ftrace-based probes through a BPF link only. Linux 5.18.
    KprobeMulti,
    /// Kprobes through perf_event_open only.
    Kretprobe,
}

impl MechanismChoice {
    /// The only mechanism allowed, if there is one.
    pub(super) const fn only(self) -> Option<Mechanism> {
        match self {
            Self::Auto => None,
            Self::Fexit => Some(Mechanism::Fexit),
            Self::KprobeMulti => Some(Mechanism::KprobeMulti),
            Self::Kretprobe => Some(Mechanism::Kretprobe),
        }
    }
}
