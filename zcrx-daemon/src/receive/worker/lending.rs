//! Registers the area as the ring's buffer, so that forward sinks send from it without a copy.

use tracing::warn;

use crate::receive::choices::SinkConfig;
use crate::receive::plan::Plan;
use crate::receive::pool::Pool;
use crate::receive::ring::Ring;

/// Registers the queue's first area with the ring if it is configured. A failure does not stop the queue: sinks then copy.
///
/// The kernel pins the pages a second time and counts them against the limit of locked memory again. It refuses areas above 1 GiB.
pub(super) fn lend_area(plan: &Plan, ring: &Ring, pool: &mut Pool) {
    let forwards = matches!(plan.config.sink, SinkConfig::Forward(_));
    let Some(memory) = pool.first_area().filter(|_| forwards && plan.config.forward_zero_copy) else {
        return;
    };
    let area = libc::iovec { iov_base: memory.start().as_ptr().cast(), iov_len: memory.bytes() };
    // SAFETY: the area stays mapped until the ring is gone, as for the queue's registration, and its content is payload.
    match unsafe { ring.submitter().register_buffers(&[area]) } {
        Ok(()) => {
            pool.set_lends(true);
        }
        Err(error) => warn!(
            queue = plan.name,
            "forward_zero_copy has no effect: the kernel does not take the area as a buffer to send from: {error}; the area may \
             have at most 1 GiB, and counts twice against the limit of locked memory (`ulimit -l`, LimitMEMLOCK=)"
        ),
    }
}
