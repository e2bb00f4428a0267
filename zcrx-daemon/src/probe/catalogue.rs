//! Every probe there is: what it tells, what is lost without it, and the ways to attach it, best first.

use crate::model::{Attempt, Mechanism, ProbeStatus};

/// Names, as in [`CATALOGUE`] and as of the modules in zcrx-ebpf.
pub(super) const ALLOCATION: &str = "allocation";
pub(super) const EXTACK: &str = "extack";
pub(super) const REGISTRATION: &str = "registration";
pub(super) const PAGE_POOL: &str = "page_pool";
pub(super) const SNAPSHOT: &str = "snapshot";

/// One probe.
pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) tells: &'static str,
    pub(super) lost_without: &'static str,
    /// Fields of kernel structures, as named in `Offsets`, without which what it says would be wrong.
    pub(super) needs: &'static [&'static str],
    /// Ways to attach it; the first that works is used.
    pub(super) alternatives: &'static [Alternative],
}

/// One way to attach a probe: all of its programs, or none.
pub(super) struct Alternative {
    pub(super) mechanism: Mechanism,
    /// The kernel function under one of the names it had; empty if the programs need none.
    pub(super) functions: &'static [Function],
    /// In the order of attaching.
    pub(super) programs: &'static [Program],
}

/// A kernel function.
pub(super) struct Function {
    pub(super) name: &'static str,
    /// Kernels that have it under this name.
    pub(super) kernels: &'static str,
    /// Number of parameters that the programs were written for.
    pub(super) arity: usize,
    /// Whether a compiler's variant (`.isra.0`) serves where a program goes by address: only if the programs read no
    /// parameter, since a variant may have fewer.
    pub(super) variants: bool,
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

/// `int f(struct io_ring_ctx *ctx, struct io_uring_zcrx_ifq_reg __user *arg)`
const REGISTER: &[Function] = &[
    Function { name: "io_register_zcrx", kernels: "7.1 and later", arity: 2, variants: true },
    Function { name: "io_register_zcrx_ifq", kernels: "6.15 to 7.0", arity: 2, variants: true },
];

/// `netmem_ref f(struct page_pool *pp, gfp_t gfp)`
const ALLOCATE: &[Function] =
    &[Function { name: "io_pp_zc_alloc_netmems", kernels: "6.15 and later", arity: 2, variants: false }];

const REGISTER_TP_BTF: Program =
    Program { name: "registration_tp_btf", hook: Hook::TpBtf("io_uring_register") };
const REGISTER_KPROBES: &[Program] = &[
    REGISTER_TP_BTF,
    Program { name: "registration_kretprobe", hook: Hook::Exit },
    Program { name: "registration_kprobe", hook: Hook::Entry },
];
const REGISTER_RAW: Program =
    Program { name: "registration_raw", hook: Hook::RawTracepoint("io_uring_register") };

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

pub(super) const CATALOGUE: &[Probe] = &[
    Probe {
        name: REGISTRATION,
        tells: "every registration of an interface queue by any process: result, duration, interface, queue, \
                process",
        lost_without: "failed and past registrations, and who tried them",
        needs: &[],
        alternatives: &[
            // The tracepoint comes last in the call and reports it. The exit goes in before the entry, so
            // that no call is seen to begin that is not seen to end.
            Alternative {
                mechanism: Mechanism::Fexit,
                functions: REGISTER,
                programs: &[
                    REGISTER_TP_BTF,
                    Program { name: "registration_fexit", hook: Hook::Exit },
                    Program { name: "registration_fentry", hook: Hook::Entry },
                ],
            },
            Alternative {
                mechanism: Mechanism::KprobeMulti,
                functions: REGISTER,
                programs: REGISTER_KPROBES,
            },
            Alternative { mechanism: Mechanism::Kretprobe, functions: REGISTER, programs: REGISTER_KPROBES },
            Alternative { mechanism: Mechanism::TpBtf, functions: &[], programs: &[REGISTER_TP_BTF] },
            Alternative { mechanism: Mechanism::RawTracepoint, functions: &[], programs: &[REGISTER_RAW] },
        ],
    },
    Probe {
        name: EXTACK,
        tells: "the kernel's own words for a failed registration",
        lost_without: "which of several reasons an errno of a failed registration stands for",
        needs: &["syscall_number", "syscall_arg1", "syscall_arg2"],
        alternatives: &[Alternative {
            mechanism: Mechanism::TpBtf,
            functions: &[],
            programs: &[Program { name: "extack_tp_btf", hook: Hook::TpBtf("netlink_extack") }],
        }],
    },
    Probe {
        name: ALLOCATION,
        tells: "how zcrx feeds each NIC queue: calls, buffers, refill entries consumed, failures, starvations",
        lost_without: "when and for how long a queue starved, and refill entries that were wasted",
        needs: &[
            "page_pool_id",
            "page_pool_provider_state",
            "page_pool_cache",
            "page_pool_held",
            "ifq_cached_head",
        ],
        alternatives: &on_function!(
            ALLOCATE,
            trampolines: [exit "allocation_fexit", entry "allocation_fentry"],
            kprobes: [exit "allocation_kretprobe", entry "allocation_kprobe"]
        ),
    },
    Probe {
        name: PAGE_POOL,
        tells: "buffers that each page pool took in and gave up, and which pools a memory provider feeds",
        lost_without: "allocations of page pools that do not pass through zcrx, and short-lived pools",
        needs: &[],
        alternatives: &[
            Alternative {
                mechanism: Mechanism::TpBtf,
                functions: &[],
                programs: &[
                    Program { name: "page_pool_destroy_tp_btf", hook: Hook::TpBtf("page_pool_release") },
                    Program { name: "page_pool_hold_tp_btf", hook: Hook::TpBtf("page_pool_state_hold") },
                    Program {
                        name: "page_pool_release_tp_btf",
                        hook: Hook::TpBtf("page_pool_state_release"),
                    },
                ],
            },
            Alternative {
                mechanism: Mechanism::RawTracepoint,
                functions: &[],
                programs: &[
                    Program { name: "page_pool_destroy_raw", hook: Hook::RawTracepoint("page_pool_release") },
                    Program { name: "page_pool_hold_raw", hook: Hook::RawTracepoint("page_pool_state_hold") },
                    Program {
                        name: "page_pool_release_raw",
                        hook: Hook::RawTracepoint("page_pool_state_release"),
                    },
                ],
            },
        ],
    },
    Probe {
        name: SNAPSHOT,
        tells: "the state of every interface queue of any process: owner, refill ring, areas, page pool, \
                completion queue",
        lost_without: "queues of other programs, and how full any of them is",
        needs: &["file_operations", "file_private", "task_tgid", "ring_queues", "ifq_netdev", "ifq_rxq"],
        alternatives: &[Alternative {
            mechanism: Mechanism::Iterator,
            functions: &[],
            programs: &[
                Program { name: "snapshot_task_file", hook: Hook::Iterator("task_file") },
                Program { name: "snapshot_task", hook: Hook::Iterator("task") },
            ],
        }],
    },
];

impl Probe {
    /// Its status before anything was tried.
    pub(super) fn untried(&self) -> ProbeStatus {
        ProbeStatus {
            name: self.name.to_owned(),
            tells: self.tells.to_owned(),
            lost_without: self.lost_without.to_owned(),
            attached: None,
            refused: Vec::new(),
        }
    }

    /// Its status when every alternative is refused for the same reason.
    pub(super) fn refused(&self, reason: &str) -> ProbeStatus {
        let attempt = |alternative: &Alternative| Attempt {
            mechanism: alternative.mechanism,
            target: alternative.target(),
            error: reason.to_owned(),
        };
        ProbeStatus { refused: self.alternatives.iter().map(attempt).collect(), ..self.untried() }
    }
}

impl Alternative {
    /// What it attaches to, in words: "io_register_zcrx or io_register_zcrx_ifq".
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
pub(super) fn all_refused(reason: &str) -> Vec<ProbeStatus> {
    CATALOGUE.iter().map(|probe| probe.refused(reason)).collect()
}

/// Every kernel function that some alternative wants.
pub(super) fn function_names() -> Vec<&'static str> {
    CATALOGUE
        .iter()
        .flat_map(|probe| probe.alternatives)
        .flat_map(|alternative| alternative.functions)
        .map(|function| function.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zcrx_common::offsets::Offsets;

    use super::*;

    #[test]
    fn a_function_is_wanted_exactly_where_a_program_goes_on_one() {
        for probe in CATALOGUE {
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
        let names: BTreeSet<_> = CATALOGUE.iter().map(|probe| probe.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for probe in CATALOGUE {
            let mechanisms: BTreeSet<_> = probe.alternatives.iter().map(|one| one.mechanism).collect();
            assert_eq!(mechanisms.len(), probe.alternatives.len(), "{}", probe.name);
        }
    }

    #[test]
    fn needs_are_fields_that_are_looked_up() {
        for probe in CATALOGUE {
            for need in probe.needs {
                assert!(Offsets::NAMES.contains(need), "{}: {need}", probe.name);
            }
        }
    }

    #[test]
    fn nothing_attached_still_says_why_for_each_alternative() {
        for (status, probe) in all_refused("no reason at all").iter().zip(CATALOGUE) {
            assert_eq!(status.attached, None);
            assert_eq!(status.refused.len(), probe.alternatives.len());
            assert!(status.refused.iter().all(|attempt| attempt.error == "no reason at all"));
        }
    }
}
