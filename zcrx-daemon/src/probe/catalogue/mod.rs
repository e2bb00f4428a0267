//! The catalogue of probes: what each reports, what is unknown without it, and the ways to attach it, best first.

pub(super) mod events;
pub(super) mod lives;
pub(super) mod residence;
pub(super) mod state;

use super::options::Options;
use super::prototype::{Expected, Function};
use crate::model::{Attempt, Mechanism, Obstacle, ProbeStatus};

/// One probe.
pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) tells: &'static str,
    pub(super) lost_without: &'static str,
    /// Fields of kernel structures, as named in `Offsets`, without which what it says would be wrong.
    pub(super) needs: &'static [&'static str],
    /// Why zcrxd attaches the probe only on request; `None` for probes that zcrxd always attaches.
    pub(super) on_request: Option<OnRequest>,
    /// The probe that it does its work together with; without that one it is not attached. Comes before it.
    pub(super) together_with: Option<&'static str>,
    /// Ways to attach it; the first that works is used.
    pub(super) alternatives: &'static [Alternative],
}

/// A probe that is attached on request only.
pub(super) struct OnRequest {
    /// Whether it was asked for.
    pub(super) asked: fn(&Options) -> bool,
    /// How to ask for it, and what it costs.
    pub(super) otherwise: &'static str,
}

/// One way to attach a probe: all of its programs, or none.
pub(super) struct Alternative {
    pub(super) mechanism: Mechanism,
    /// The kernel function under one of the names it had; empty if the programs need none.
    pub(super) functions: &'static [Function],
    /// In the order of attaching.
    pub(super) programs: &'static [Program],
}

/// A program of the object and where it goes.
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
}

/// Where a program goes.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    /// Entry of the alternative's function.
    Entry,
    /// Exit of the alternative's function.
    Exit,
    /// BTF-typed tracepoint.
    TpBtf(&'static str),
    /// Untyped tracepoint.
    RawTracepoint(&'static str),
    /// Iterator over kernel objects: nothing runs until it is read.
    Iterator(&'static str),
}

/// The ways onto a function, best first. Programs for an exit are named before those for the entry, so that no call is
/// seen to begin that is not seen to end.
macro_rules! on_function {
    (
        $functions:expr,
        trampolines: [$($trampoline:ident $traced:literal),+],
        kprobes: [$($kprobe:ident $probed:literal),+]
    ) => {
        [
            Alternative {
                mechanism: Mechanism::Fexit,
                functions: $functions,
                programs: &[$(on_function!(@program $trampoline $traced)),+],
            },
            Alternative {
                mechanism: Mechanism::KprobeMulti,
                functions: $functions,
                programs: &[$(on_function!(@program $kprobe $probed)),+],
            },
            Alternative {
                mechanism: Mechanism::Kretprobe,
                functions: $functions,
                programs: &[$(on_function!(@program $kprobe $probed)),+],
            },
        ]
    };
    (@program exit $name:literal) => { Program { name: $name, hook: Hook::Exit } };
    (@program entry $name:literal) => { Program { name: $name, hook: Hook::Entry } };
}

use on_function;

/// The probes of each file; files of probes on which others depend come first.
const FILES: [&[Probe]; 4] = [state::PROBES, residence::PROBES, events::PROBES, lives::PROBES];

/// Every probe, in the order in which zcrxd attaches them.
pub(super) fn probes() -> impl Iterator<Item = &'static Probe> {
    FILES.into_iter().flatten()
}

impl Probe {
    /// Its status before anything was tried.
    pub(super) fn untried(&self) -> ProbeStatus {
        ProbeStatus {
            name: self.name.to_owned(),
            tells: self.tells.to_owned(),
            lost_without: self.lost_without.to_owned(),
            asked: true,
            attached: None,
            refused: Vec::new(),
        }
    }

    /// Its status if it is not to be tried at all, when those before it stand like this.
    pub(super) fn not_tried(&self, options: &Options, before: &[ProbeStatus]) -> Option<ProbeStatus> {
        if options.disabled.contains(self.name) {
            let reason = "the configuration disables it (probes.disabled)";
            return Some(ProbeStatus { asked: false, ..self.refused(Obstacle::NotTried, reason) });
        }
        if let Some(on_request) = self.on_request.as_ref().filter(|on_request| !(on_request.asked)(options)) {
            return Some(ProbeStatus {
                asked: false,
                ..self.refused(Obstacle::NotTried, on_request.otherwise)
            });
        }
        let other = self.together_with?;
        let other_status = before.iter().find(|status| status.name == other);
        if other_status.is_some_and(|status| status.attached.is_some()) {
            return None;
        }
        let obstacle = other_status.map_or(Obstacle::Refused, ProbeStatus::obstacle);
        let asked = other_status.is_none_or(|status| status.asked);
        let reason = format!("it needs the probe {other}, which is not attached");
        Some(ProbeStatus { asked, ..self.refused(obstacle, &reason) })
    }

    /// Its status when every alternative is refused for the same reason.
    pub(super) fn refused(&self, obstacle: Obstacle, reason: &str) -> ProbeStatus {
        let attempt = |alternative: &Alternative| Attempt {
            mechanism: alternative.mechanism,
            target: alternative.target(),
            error: reason.to_owned(),
            obstacle,
        };
        ProbeStatus { refused: self.alternatives.iter().map(attempt).collect(), ..self.untried() }
    }
}

impl Alternative {
    /// Target of the attachment, as text: "io_register_zcrx or io_register_zcrx_ifq".
    pub(super) fn target(&self) -> String {
        let names: Vec<&str> = if self.functions.is_empty() {
            self.programs.iter().filter_map(|program| program.hook.own_target()).collect()
        } else {
            self.functions.iter().map(|function| function.name).collect()
        };
        names.join(if self.functions.is_empty() { ", " } else { " or " })
    }
}

impl Hook {
    /// The tracepoint or the kind of object, for hooks that name one.
    const fn own_target(self) -> Option<&'static str> {
        match self {
            Self::Entry | Self::Exit => None,
            Self::TpBtf(name) | Self::RawTracepoint(name) | Self::Iterator(name) => Some(name),
        }
    }
}

/// The status of every probe when nothing can be attached at all.
pub(super) fn all_refused(reason: &str, options: &Options) -> Vec<ProbeStatus> {
    let refused = |probe: &Probe| {
        let unasked = probe.not_tried(options, &[]).filter(|status| !status.asked);
        unasked.unwrap_or_else(|| probe.refused(Obstacle::Refused, reason))
    };
    probes().map(refused).collect()
}

/// Every kernel function that some alternative wants.
pub(super) fn function_names() -> Vec<&'static str> {
    probes()
        .flat_map(|probe| probe.alternatives)
        .flat_map(|alternative| alternative.functions)
        .map(|function| function.name)
        .collect()
}

/// Every type of the kernel that a program is loaded for: functions, and what the kernel calls tracepoints and iterators.
pub(super) fn type_names() -> Vec<String> {
    let programs = probes().flat_map(|probe| probe.alternatives).flat_map(|one| one.programs);
    let of_hooks = programs.filter_map(|program| match program.hook {
        Hook::TpBtf(tracepoint) => Some(format!("btf_trace_{tracepoint}")),
        Hook::Iterator(kind) => Some(format!("bpf_iter_{kind}")),
        Hook::Entry | Hook::Exit | Hook::RawTracepoint(_) => None,
    });
    function_names().into_iter().map(str::to_owned).chain(of_hooks).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zcrx_common::offsets::Offsets;

    use super::*;

    #[test]
    fn disabled_probe_and_those_that_need_it_are_not_requested() {
        let disabled = ["snapshot".to_owned()].into();
        let options = Options { disabled, ..Options::default() };
        let mut statuses: Vec<ProbeStatus> = Vec::new();
        for probe in probes() {
            let status = probe.not_tried(&options, &statuses).unwrap_or_else(|| ProbeStatus {
                attached: Some((Mechanism::Fexit, String::new())),
                ..probe.untried()
            });
            let needs = probe.name == "snapshot" || probe.together_with == Some("snapshot");
            let requested = status.state() != crate::model::ProbeState::NotRequested;
            if probe.on_request.is_none() {
                assert_eq!(requested, !needs, "{}: {status:?}", probe.name);
            }
            statuses.push(status);
        }
    }

    #[test]
    fn a_function_is_wanted_exactly_where_a_program_goes_on_one() {
        for probe in probes() {
            assert!(!probe.alternatives.is_empty(), "{}", probe.name);
            for alternative in probe.alternatives {
                let on_function =
                    alternative.programs.iter().any(|program| program.hook.own_target().is_none());
                assert_eq!(
                    on_function,
                    !alternative.functions.is_empty(),
                    "{} {:?}",
                    probe.name,
                    alternative.mechanism
                );
            }
        }
    }

    #[test]
    fn names_and_mechanisms_are_unique() {
        let names: BTreeSet<_> = probes().map(|probe| probe.name).collect();
        assert_eq!(names.len(), probes().count());
        for probe in probes() {
            let mechanisms: BTreeSet<_> = probe.alternatives.iter().map(|one| one.mechanism).collect();
            assert_eq!(mechanisms.len(), probe.alternatives.len(), "{}", probe.name);
        }
    }

    #[test]
    fn needs_are_fields_that_are_looked_up() {
        for probe in probes() {
            for need in probe.needs {
                assert!(Offsets::NAMES.contains(need), "{}: {need}", probe.name);
            }
        }
    }

    #[test]
    fn nothing_attached_still_says_why_for_each_alternative() {
        let all = all_refused("no reason at all", &Options { residence: 64, ..Options::default() });
        for (status, probe) in all.iter().zip(probes()) {
            assert_eq!(status.attached, None);
            assert!(status.asked);
            assert_eq!(status.refused.len(), probe.alternatives.len());
            assert!(status.refused.iter().all(|attempt| attempt.error == "no reason at all"));
        }
    }

    #[test]
    fn what_nobody_asked_for_says_how_to_ask_and_what_it_costs() {
        let all = all_refused("no reason at all", &Options::default());
        let unasked: Vec<_> = all.iter().filter(|status| !status.asked).collect();
        assert_eq!(unasked.len(), 1);
        assert_eq!(unasked[0].name, residence::RESIDENCE);
        assert!(unasked[0].refused.iter().all(|attempt| attempt.error.contains("not asked for")));
        assert!(unasked[0].refused.iter().all(|attempt| attempt.error.contains("a fifth")));
    }

    #[test]
    fn a_probe_that_needs_another_comes_after_it_and_not_without_it() {
        let options = &Options { residence: 1, ..Options::default() };
        for (place, probe) in probes().enumerate() {
            let Some(other) = probe.together_with else {
                assert_eq!(probe.not_tried(options, &[]), None);
                continue;
            };
            let before: Vec<_> = probes().take(place).map(Probe::untried).collect();
            let status = probe.not_tried(options, &before).expect("the other is not attached");
            assert!(status.asked && status.refused.iter().all(|attempt| attempt.error.contains(other)));
            let mut before = before;
            let stands = before.iter_mut().find(|status| status.name == other).expect("comes before");
            stands.attached = Some((Mechanism::Fexit, "f".to_owned()));
            assert_eq!(probe.not_tried(options, &before), None);
        }
    }
}
