//! The probe of how long buffers are held. Attached on request only: it runs for each completion.

use super::state::ALLOCATION;
use super::{Alternative, Expected, Function, Hook, OnRequest, Probe, Program, on_function};
use crate::model::Mechanism;

/// The probes of this file. One that works together with another comes after it.
pub(super) const PROBES: &[Probe] = &[RESIDENCE_PROBE];

pub(in crate::probe) const RESIDENCE: &str = "residence";

/// `bool f(struct io_kiocb *req, struct net_iov *niov, struct io_zcrx_ifq *ifq, int off, int len)`
const QUEUE_CQE: &[Function] = &[Function {
    name: "io_zcrx_queue_cqe",
    kernels: "6.18 and later",
    parameters: &[
        Expected::Structure("io_kiocb"),
        Expected::Structure("net_iov"),
        Expected::Structure("io_zcrx_ifq"),
        Expected::Integer(4),
        Expected::Integer(4),
    ],
    result: Expected::Integer(1),
    variants: false,
}];

const RESIDENCE_PROBE: Probe = Probe {
    name: RESIDENCE,
    tells: "how long sampled buffers are held, from the completion that delivers one until the kernel has it back in the \
            page pool, time in the refill ring included",
    lost_without: "how long other programs keep buffers",
    needs: &[
        "niov_pool",
        "niov_owner",
        "niov_size",
        "area_owner",
        "owner_niovs",
        "area_user_refs",
        "page_pool_cached",
        "page_pool_held",
    ],
    on_request: Some(OnRequest {
        asked: |options| options.residence != 0,
        otherwise: "not asked for (probes.residence): it runs for each completion, which takes a fast receiver a fifth more time",
    }),
    // The return is seen where that one looks.
    together_with: Some(ALLOCATION),
    alternatives: &on_function!(
        QUEUE_CQE,
        trampolines: [entry "residence_fentry"],
        kprobes: [entry "residence_kprobe"]
    ),
};
