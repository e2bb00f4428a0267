//! Probes of lives: when page pools, queues and their rings begin and end.

use super::{Alternative, Expected, Function, Hook, Probe, Program, on_function};
use crate::model::Mechanism;

/// The probes of this file. One that works together with another comes after it.
pub(super) const PROBES: &[Probe] =
    &[POOL_BEGIN_PROBE, POOL_END_PROBE, QUEUE_END_PROBE, TEARDOWN_PROBE, HOLDERS_PROBE];

pub(in crate::probe) const POOL_BEGIN: &str = "pool_begin";
pub(in crate::probe) const POOL_END: &str = "pool_end";
pub(in crate::probe) const QUEUE_END: &str = "queue_end";
pub(in crate::probe) const TEARDOWN: &str = "teardown";
pub(in crate::probe) const HOLDERS: &str = "holders";

/// `int f(struct page_pool *pp)`
const INIT: &[Function] = &[Function {
    name: "io_pp_zc_init",
    kernels: "6.15 and later",
    parameters: &[Expected::Structure("page_pool")],
    result: Expected::Integer(4),
    variants: true,
}];

/// `void f(struct page_pool *pp)`
const DESTROY: &[Function] = &[Function {
    name: "io_pp_zc_destroy",
    kernels: "6.15 and later",
    parameters: &[Expected::Structure("page_pool")],
    result: Expected::Nothing,
    variants: true,
}];

/// `void f(struct io_zcrx_ifq *ifq)`. The second gives a reference back, and has the first inlined where that is missing.
const FREE: &[Function] = &[
    Function {
        name: "io_zcrx_ifq_free",
        kernels: "6.15 and later, unless inlined",
        parameters: &[Expected::Structure("io_zcrx_ifq")],
        result: Expected::Nothing,
        variants: false,
    },
    Function {
        name: "io_put_zcrx_ifq",
        kernels: "6.19 and later",
        parameters: &[Expected::Structure("io_zcrx_ifq")],
        result: Expected::Nothing,
        variants: false,
    },
];

/// `void f(struct io_ring_ctx *ctx)`
const UNREGISTER: &[Function] = &[
    Function {
        name: "io_unregister_zcrx",
        kernels: "7.1 and later",
        parameters: &[Expected::Structure("io_ring_ctx")],
        result: Expected::Nothing,
        variants: false,
    },
    Function {
        name: "io_unregister_zcrx_ifqs",
        kernels: "6.15 to 7.0",
        parameters: &[Expected::Structure("io_ring_ctx")],
        result: Expected::Nothing,
        variants: false,
    },
];

const POOL_BEGIN_PROBE: Probe = Probe {
    name: POOL_BEGIN,
    tells: "page pools that took zcrx as their provider, and those that were refused",
    lost_without: "how often drivers create a queue's page pool again",
    needs: &[],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        INIT,
        trampolines: [exit "pool_begin_fexit"],
        kprobes: [exit "pool_begin_kretprobe"]
    ),
};

const POOL_END_PROBE: Probe = Probe {
    name: POOL_END,
    tells: "page pools with zcrx as their provider that were freed",
    lost_without: "whether page pools go as they come",
    needs: &[],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        DESTROY,
        trampolines: [entry "pool_end_fentry"],
        kprobes: [entry "pool_end_kprobe"]
    ),
};

const QUEUE_END_PROBE: Probe = Probe {
    name: QUEUE_END,
    tells: "interface queues that were freed; their counts are forgotten then",
    lost_without: "whether queues go when their rings do; counts are forgotten only when two snapshots miss the queue",
    needs: &[],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        FREE,
        trampolines: [entry "queue_end_fentry"],
        kprobes: [entry "queue_end_kprobe"]
    ),
};

const TEARDOWN_PROBE: Probe = Probe {
    name: TEARDOWN,
    tells: "rings with queues that were torn down",
    lost_without: "whether queues outlive their rings",
    needs: &["ring_queues"],
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        UNREGISTER,
        trampolines: [entry "teardown_fentry"],
        kprobes: [entry "teardown_kprobe"]
    ),
};

const HOLDERS_PROBE: Probe = Probe {
    name: HOLDERS,
    tells: "processes that come to hold a ring by fork, and those that lose it by exec",
    lost_without: "owners of a queue that are children of the process that registered it",
    needs: &["task_tgid"],
    on_request: None,
    together_with: Some(TEARDOWN),
    alternatives: &[Alternative {
        mechanism: Mechanism::TpBtf,
        functions: &[],
        programs: &[
            Program { name: "holder_fork_tp_btf", hook: Hook::TpBtf("sched_process_fork") },
            Program { name: "holder_exec_tp_btf", hook: Hook::TpBtf("sched_process_exec") },
        ],
    }],
};
