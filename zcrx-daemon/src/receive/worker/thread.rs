//! CPUs, busy polling and waits of a queue's thread. A failure of any of these does not stop the queue.

use rustix::thread::{CpuSet, sched_setaffinity};
use tracing::warn;

use super::event_loop::PUBLISH_EVERY;
use crate::receive::plan::Plan;
use crate::receive::ring::Ring;
use zcrx_uapi::napi;

/// Pins the calling thread to the configured CPUs.
pub(super) fn pin(plan: &Plan) {
    let cpus = plan.config.cpus_of(plan.slot.as_ref().map_or(0, |slot| slot.index));
    if cpus.is_empty() {
        return;
    }
    let mut set = CpuSet::new();
    for cpu in cpus.iter().map(|cpu| *cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU) {
        set.set(cpu);
    }
    if let Err(errno) = sched_setaffinity(None, &set) {
        warn!(
            queue = plan.name,
            "cannot run on CPUs {cpus:?} only: {errno}; name CPUs that this host has and that zcrxd may use (its cpuset)"
        );
    }
}

/// Enables busy polling of the NIC if it is configured. Returns whether it is enabled.
pub(super) fn busy_poll(plan: &Plan, ring: &Ring) -> bool {
    let Some(time) = plan.config.napi_busy_poll else { return false };
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    match napi::busy_poll(ring.fd(), micros) {
        Ok(()) => true,
        Err(error) => {
            warn!(
                queue = plan.name,
                "no NAPI busy polling: {error}; it needs Linux 6.9 with CONFIG_NET_RX_BUSY_POLL"
            );
            false
        }
    }
}

/// Makes waits gather completions if it is configured: as many as the loop handles before it returns buffers.
pub(super) fn gather(plan: &Plan, ring: &mut Ring) {
    let Some(time) = plan.config.min_wait else { return };
    if !ring.gather(time, PUBLISH_EVERY) {
        warn!(
            queue = plan.name,
            "min_wait has no effect: this kernel's waits have no shortest time; use Linux 6.12 or later"
        );
    }
}
