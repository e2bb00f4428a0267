//! Takes the best backend that works, and keeps the reasons against better ones.

use std::fs;

use super::any::AnyBackend;
use super::contract::Pause;
use super::copy::CopyBackend;
use super::zcrx::ZcrxBackend;
use crate::model::{BackendKind, Refusal, Selection};
use crate::net::{driver_of, kernel_index};
use crate::receive::ReceiveError;
use crate::receive::choices::BackendChoice;
use crate::receive::config::QueueConfig;
use crate::receive::pool::Pool;
use crate::receive::ring::Ring;

/// A backend that works.
pub(in crate::receive) struct Selected {
    pub(in crate::receive) backend: AnyBackend,
    pub(in crate::receive) pool: Pool,
    pub(in crate::receive) selection: Selection,
}

const BEST_FIRST: [BackendKind; 3] = [BackendKind::Device, BackendKind::Nodev, BackendKind::Copy];

/// Registers a queue on `ring`, whose thread must be the calling one. A hardware queue that `outlives` the process lies in memory
/// that another process can map, where the kernel can export the queue.
pub(in crate::receive) fn select(
    ring: &Ring,
    config: &QueueConfig,
    outlives: bool,
    pause: Pause<'_>,
) -> Result<Selected, ReceiveError> {
    let candidates = match &config.backend {
        BackendChoice::Auto => BEST_FIRST.to_vec(),
        BackendChoice::Only(kind) => vec![*kind],
    };
    take_first(ring, config, outlives, &candidates, pause)
        .map_err(|refused| ReceiveError::NoBackend { refused })
}

/// Registers a queue on a backend that is better than `current`, if there is one. Does not wait for a busy queue.
pub(in crate::receive) fn select_better(
    ring: &Ring,
    config: &QueueConfig,
    outlives: bool,
    current: BackendKind,
) -> Option<Selected> {
    let better: Vec<_> = BEST_FIRST.into_iter().take_while(|kind| *kind != current).collect();
    take_first(ring, config, outlives, &better, &|_| false).ok()
}

fn take_first(
    ring: &Ring,
    config: &QueueConfig,
    outlives: bool,
    candidates: &[BackendKind],
    pause: Pause<'_>,
) -> Result<Selected, Vec<Refusal>> {
    let mut refused = Vec::new();
    for kind in candidates {
        let attempt = match kind {
            BackendKind::Device => device(ring, config, outlives, pause),
            BackendKind::Nodev => ZcrxBackend::register_nodev(ring, config, pause).map(zcrx),
            BackendKind::Copy => {
                CopyBackend::register(ring, config).map(|(backend, pool)| (AnyBackend::Copy(backend), pool))
            }
        };
        match attempt {
            Ok((backend, pool)) => {
                let selection = Selection { backend: Some(*kind), refused };
                return Ok(Selected { backend, pool, selection });
            }
            Err(refusal) => refused.push(refusal),
        }
    }
    Err(refused)
}

type Attempt = Result<(AnyBackend, Pool), Refusal>;

fn zcrx((backend, pool): (ZcrxBackend, Pool)) -> (AnyBackend, Pool) {
    (AnyBackend::Zcrx(backend), pool)
}

fn device(ring: &Ring, config: &QueueConfig, outlives: bool, pause: Pause<'_>) -> Attempt {
    let refuse = |errno, reason: &str, remedy: &str| Refusal {
        backend: BackendKind::Device,
        step: "choose a hardware queue".to_owned(),
        errno,
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    };
    let Some(interface) = &config.interface else {
        return Err(refuse(None, "no interface is configured", "name an interface and one of its queues"));
    };
    let Some(index) = kernel_index(interface) else {
        return Err(refuse(Some(libc::ENODEV), "the interface is gone", "bring it back"));
    };
    // gve refuses its first queue only after it began to stop it, with a kernel warning.
    if let Some((reason, remedy)) = driver_of(index).refuses(interface, config.queue) {
        return Err(refuse(Some(libc::ERANGE), &reason, &remedy));
    }
    ZcrxBackend::register_device(ring, config, (interface, index), outlives, pause).map(zcrx)
}

/// Refuses an interface that is not there, and a queue that it does not have: bad input, whatever the backend.
///
/// Many drivers refuse zcrx with an errno that says nothing of the queue's index, so it is looked at first.
pub(in crate::receive) fn check_interface(config: &QueueConfig) -> Result<(), ReceiveError> {
    let Some(interface) = config.interface.clone() else { return Ok(()) };
    if kernel_index(&interface).is_none() {
        return Err(ReceiveError::NoInterface { interface });
    }
    match receive_queues(&interface) {
        Some(queues) if config.queue >= queues => {
            Err(ReceiveError::NoQueue { interface, queue: config.queue, queues })
        }
        _ => Ok(()),
    }
}

/// Number of receive queues of an interface, from sysfs.
fn receive_queues(interface: &str) -> Option<u32> {
    let queues = fs::read_dir(format!("/sys/class/net/{interface}/queues")).ok()?;
    let receive = queues.flatten().filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    u32::try_from(receive.count()).ok().filter(|count| *count > 0)
}
