//! Probes of state, of registrations and of the provider's allocation.

use super::{Alternative, Expected, Function, Hook, Probe, Program, on_function};
use crate::model::Mechanism;

/// The probes of this file. One that works together with another comes after it.
pub(super) const PROBES: &[Probe] = &[
    REGISTRATION_PROBE,
    EXTACK_PROBE,
    ALLOCATION_PROBE,
    PAGE_POOL_PROBE,
    SNAPSHOT_PROBE,
    SOCKETS_PROBE,
    STACK_PROBE,
];

pub(in crate::probe) const REGISTRATION: &str = "registration";
pub(in crate::probe) const EXTACK: &str = "extack";
pub(in crate::probe) const ALLOCATION: &str = "allocation";
pub(in crate::probe) const PAGE_POOL: &str = "page_pool";
pub(in crate::probe) const SNAPSHOT: &str = "snapshot";
pub(in crate::probe) const SOCKETS: &str = "sockets";
pub(in crate::probe) const STACK: &str = "stack";

/// `int f(struct io_ring_ctx *ctx, struct io_uring_zcrx_ifq_reg __user *arg)`
const REGISTER_CALL: Function = Function {
    name: "",
    kernels: "",
    parameters: &[Expected::Structure("io_ring_ctx"), Expected::Structure("io_uring_zcrx_ifq_reg")],
    result: Expected::Integer(4),
    // The ring is a parameter.
    variants: false,
};

const REGISTER: &[Function] = &[
    Function { name: "io_register_zcrx", kernels: "7.1 and later", ..REGISTER_CALL },
    Function { name: "io_register_zcrx_ifq", kernels: "6.15 to 7.0", ..REGISTER_CALL },
];

/// `netmem_ref f(struct page_pool *pp, gfp_t gfp)`
const ALLOCATE: &[Function] = &[Function {
    name: "io_pp_zc_alloc_netmems",
    kernels: "6.15 and later",
    parameters: &[Expected::Structure("page_pool"), Expected::Integer(4)],
    result: Expected::Integer(8),
    variants: false,
}];

const REGISTER_TP_BTF: Program =
    Program { name: "registration_tp_btf", hook: Hook::TpBtf("io_uring_register") };
const REGISTER_KPROBES: &[Program] = &[
    REGISTER_TP_BTF,
    Program { name: "registration_kretprobe", hook: Hook::Exit },
    Program { name: "registration_kprobe", hook: Hook::Entry },
];
const REGISTER_RAW: Program =
    Program { name: "registration_raw", hook: Hook::RawTracepoint("io_uring_register") };

const REGISTRATION_PROBE: Probe = Probe {
    name: REGISTRATION,
    tells: "every registration of an interface queue by any process: result, duration, interface, queue, \
                process",
    lost_without: "failed and past registrations, and who tried them",
    needs: &[],
    on_request: None,
    together_with: None,
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
        Alternative { mechanism: Mechanism::KprobeMulti, functions: REGISTER, programs: REGISTER_KPROBES },
        Alternative { mechanism: Mechanism::Kretprobe, functions: REGISTER, programs: REGISTER_KPROBES },
        Alternative { mechanism: Mechanism::TpBtf, functions: &[], programs: &[REGISTER_TP_BTF] },
        Alternative { mechanism: Mechanism::RawTracepoint, functions: &[], programs: &[REGISTER_RAW] },
    ],
};

const EXTACK_PROBE: Probe = Probe {
    name: EXTACK,
    tells: "the kernel's own words for a failed registration",
    lost_without: "which of several reasons an errno of a failed registration stands for",
    needs: &["syscall_number", "syscall_arg1", "syscall_arg2"],
    on_request: None,
    together_with: None,
    alternatives: &[Alternative {
        mechanism: Mechanism::TpBtf,
        functions: &[],
        programs: &[Program { name: "extack_tp_btf", hook: Hook::TpBtf("netlink_extack") }],
    }],
};

const ALLOCATION_PROBE: Probe = Probe {
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
    on_request: None,
    together_with: None,
    alternatives: &on_function!(
        ALLOCATE,
        trampolines: [exit "allocation_fexit", entry "allocation_fentry"],
        kprobes: [exit "allocation_kretprobe", entry "allocation_kprobe"]
    ),
};

const PAGE_POOL_PROBE: Probe = Probe {
    name: PAGE_POOL,
    tells: "buffers that each page pool with a memory provider (zcrx, devmem) took in and gave up",
    lost_without: "allocations of page pools that do not pass through zcrx, and short-lived pools",
    needs: &[],
    on_request: None,
    together_with: None,
    alternatives: &[
        Alternative {
            mechanism: Mechanism::TpBtf,
            functions: &[],
            programs: &[
                Program { name: "page_pool_destroy_tp_btf", hook: Hook::TpBtf("page_pool_release") },
                Program { name: "page_pool_hold_tp_btf", hook: Hook::TpBtf("page_pool_state_hold") },
                Program { name: "page_pool_release_tp_btf", hook: Hook::TpBtf("page_pool_state_release") },
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
};

const SNAPSHOT_PROBE: Probe = Probe {
    name: SNAPSHOT,
    tells: "the state of every interface queue of any process: owner, refill ring, areas, page pool, \
                completion queue",
    lost_without: "queues of other programs, and how full any of them is",
    needs: &[
        "file_operations",
        "file_private",
        "task_tgid",
        "ring_queues",
        "xa_node_shift",
        "xa_node_slots",
        "ifq_netdev",
        "ifq_rxq",
        "area_buffers",
        "area_free",
    ],
    on_request: None,
    together_with: None,
    alternatives: &[Alternative {
        mechanism: Mechanism::Iterator,
        functions: &[],
        programs: &[
            Program { name: "snapshot_task_file", hook: Hook::Iterator("task_file") },
            Program { name: "snapshot_task", hook: Hook::Iterator("task") },
            Program { name: "snapshot_registry", hook: Hook::Iterator("task") },
        ],
    }],
};

const SOCKETS_PROBE: Probe = Probe {
    name: SOCKETS,
    tells: "how much data waits in the sockets of those who own interface queues",
    lost_without: "whether buffers are missing because data waits in sockets unread",
    needs: &[
        "task_tgid",
        "task_leader",
        "task_files",
        "files_table",
        "table_files",
        "table_size",
        "file_operations",
        "file_private",
        "file_inode",
        "inode_mode",
        "socket_sock",
        "sock_family",
        "sock_state",
        "sock_type",
        "sock_protocol",
        "sock_flags",
        "sock_receive_limit",
        "tcp_expected",
        "tcp_unread",
    ],
    on_request: None,
    together_with: None,
    alternatives: &[Alternative {
        mechanism: Mechanism::Iterator,
        functions: &[],
        programs: &[Program { name: "snapshot_sockets", hook: Hook::Iterator("task") }],
    }],
};

const STACK_PROBE: Probe = Probe {
    name: STACK,
    tells: "the kernel functions that the thread of a starving queue's ring is in",
    lost_without: "where in the kernel the thread of a starving queue waits",
    needs: &["ring_consumer", "task_tid"],
    on_request: None,
    together_with: None,
    alternatives: &[Alternative {
        mechanism: Mechanism::Iterator,
        functions: &[],
        programs: &[Program { name: "stack_task", hook: Hook::Iterator("task") }],
    }],
};
