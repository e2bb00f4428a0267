//! Probes: which are attached and how, and what they counted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{KernelSnapshot, Lives, ProbeCost, Registration, RegistrationCount, SelfCheck};

/// How a program is attached to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// BPF trampoline on function entry and exit.
    Fexit,
    /// Ftrace-based probes on function entry and return, through a BPF link. Linux 5.18.
    KprobeMulti,
    /// Breakpoint (or ftrace) probes on function entry and return, through perf_event_open.
    Kretprobe,
    /// BTF-typed raw tracepoint.
    TpBtf,
    /// Untyped raw tracepoint.
    RawTracepoint,
    /// Classic tracepoint through perf_event_open.
    Tracepoint,
    /// BPF iterator.
    Iterator,
}

impl Mechanism {
    /// Whether the mechanism attaches programs to functions of the kernel.
    pub const fn is_on_function(self) -> bool {
        matches!(self, Self::Fexit | Self::KprobeMulti | Self::Kretprobe)
    }

    /// The name used in metrics and on pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::KprobeMulti => "kprobe_multi",
            Self::Kretprobe => "kretprobe",
            Self::TpBtf => "tp_btf",
            Self::RawTracepoint => "raw_tracepoint",
            Self::Tracepoint => "tracepoint",
            Self::Iterator => "iterator",
        }
    }
}

/// One alternative that was tried and refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Mechanism tried.
    pub mechanism: Mechanism,
    /// Function or tracepoint it was tried on.
    pub target: String,
    /// Why it was refused, as text.
    pub error: String,
    /// What kind of refusal this is.
    #[serde(default)]
    pub obstacle: Obstacle,
}

/// Why an alternative of a probe could not be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Obstacle {
    /// Not tried: another mechanism was asked for.
    NotTried,
    /// This kernel has nothing to attach to: the feature that the probe observes does not exist here.
    NotInKernel,
    /// This host refuses: missing capabilities, lockdown, a mechanism that was not built in.
    #[default]
    Refused,
    /// zcrxd and this kernel do not fit: the verifier rejects a program, or a function has other parameters.
    Failed,
}

/// State of a probe on this kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeState {
    /// Attached by one of its mechanisms.
    Attached,
    /// Not attached, since this kernel does not have what the probe observes.
    NotInKernel,
    /// Not attached, since the configuration does not ask for it.
    NotRequested,
    /// Not attached: refused by this host.
    Refused,
    /// Not attached: zcrxd and this kernel do not fit.
    Failed,
}

impl ProbeState {
    /// The name used in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::NotInKernel => "not_in_kernel",
            Self::NotRequested => "not_requested",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One probe of the catalogue, with its state on this kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Name of the probe; the names of its programs in zcrx-ebpf begin with it.
    pub name: String,
    /// What the probe reports.
    pub tells: String,
    /// What is unknown without it.
    pub lost_without: String,
    /// Whether the configuration requests the probe: zcrxd attaches some probes only on request.
    #[serde(default = "asked")]
    pub asked: bool,
    /// Mechanism and target that attached; `None` when every alternative was refused.
    pub attached: Option<(Mechanism, String)>,
    /// Alternatives refused before that, in the order they were tried.
    pub refused: Vec<Attempt>,
}

impl ProbeStatus {
    /// Notes that the probe cannot be used although it was attached.
    pub fn fail(&mut self, error: String) {
        if let Some((mechanism, target)) = self.attached.take() {
            self.refused.push(Attempt { mechanism, target, error, obstacle: Obstacle::Failed });
        }
    }

    /// State of the probe. A failed alternative outweighs refused ones, and refused ones outweigh missing ones: a probe
    /// counts as missing from the kernel only if no alternative found anything to attach to.
    pub fn state(&self) -> ProbeState {
        if self.attached.is_some() {
            return ProbeState::Attached;
        }
        if !self.asked {
            return ProbeState::NotRequested;
        }
        match self.obstacle() {
            Obstacle::NotInKernel => ProbeState::NotInKernel,
            Obstacle::NotTried | Obstacle::Refused => ProbeState::Refused,
            Obstacle::Failed => ProbeState::Failed,
        }
    }

    /// The gravest obstacle of all alternatives.
    pub fn obstacle(&self) -> Obstacle {
        self.refused.iter().map(|attempt| attempt.obstacle).max().unwrap_or_default()
    }
}

/// The reason why no probe is attached, if it is one and the same for all that were asked for: the host refuses eBPF as a
/// whole.
pub fn common_refusal(probes: &[ProbeStatus]) -> Option<&str> {
    let asked = || probes.iter().filter(|probe| probe.asked);
    let mut reasons = asked().flat_map(|probe| &probe.refused).map(|attempt| attempt.error.as_str());
    let first = reasons.next()?;
    let refused = asked().all(|probe| probe.attached.is_none() && !probe.refused.is_empty());
    (refused && asked().nth(1).is_some() && reasons.all(|reason| reason == first)).then_some(first)
}

const fn asked() -> bool {
    true
}

/// What the page_pool tracepoints counted for one pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagePoolCount {
    /// Page-pool id, the one of the netdev netlink family; `None` where the field could not be read.
    pub id: Option<u32>,
    /// Interface index of the pool's device, where it could be read.
    pub ifindex: Option<u32>,
    /// Interface name, where it could be found.
    pub interface: Option<String>,
    /// Whether a memory provider (zcrx, devmem) feeds it, where it could be read.
    pub provider: Option<bool>,
    /// `page_pool_state_hold` events: pages or niovs the pool took in.
    pub held: u64,
    /// `page_pool_state_release` events: pages or niovs the pool gave up.
    pub released: u64,
}

/// How much of a sample is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// What a diagnosis needs each second: queues and registrations.
    Queues,
    /// All figures.
    All,
}

/// Everything the probes can say at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeSample {
    /// Every probe of the catalogue.
    pub probes: Vec<ProbeStatus>,
    /// Registrations by result; `None` when no probe for them is attached.
    pub registrations: Option<Vec<RegistrationCount>>,
    /// Registrations of processes other than zcrxd by result; `None` when no probe for them is attached.
    #[serde(default)]
    pub foreign_registrations: Option<Vec<RegistrationCount>>,
    /// The last registrations, newest last, bounded.
    pub recent_registrations: Vec<Registration>,
    /// Per-pool counts; `None` when the tracepoints are not attached.
    pub page_pools: Option<Vec<PagePoolCount>>,
    /// Every zcrx queue on the host as the kernel has it; `None` when no iterator is attached.
    pub snapshot: Option<KernelSnapshot>,
    /// What a snapshot showed of a queue whose figures were known; `None` when no iterator is attached.
    #[serde(default)]
    pub self_check: Option<Arc<SelfCheck>>,
    /// Events the kernel could not hand over because a buffer was full; `None` when there is no such buffer.
    pub lost_events: Option<u64>,
    /// Queues, page pools and rings that began and ended.
    #[serde(default)]
    pub lives: Lives,
    /// What the probes cost; `None` when none is attached.
    #[serde(default)]
    pub cost: Option<ProbeCost>,
}
