//! Takes the best backend that works, and remembers why not a better one.

use std::fs;

use super::Backend;
use super::copy::CopyBackend;
use super::zcrx::{ZcrxBackend, ifindex};
use crate::model::{BackendKind, Refusal, Selection};
use crate::receive::ReceiveError;
use crate::receive::config::{BackendChoice, QueueConfig};
use crate::receive::pool::Pool;
use crate::receive::ring::Ring;

/// A backend that works.
pub(in crate::receive) struct Selected {
    pub(in crate::receive) backend: Box<dyn Backend>,
    pub(in crate::receive) pool: Pool,
    pub(in crate::receive) selection: Selection,
}

/// Registers a queue on `ring`, whose thread must be the calling one.
pub(in crate::receive) fn select(ring: &Ring, config: &QueueConfig) -> Result<Selected, ReceiveError> {
    let candidates: &[BackendKind] = match &config.backend {
        BackendChoice::Auto => &[BackendKind::Device, BackendKind::Nodev, BackendKind::Copy],
        BackendChoice::Only(BackendKind::Device) => &[BackendKind::Device],
        BackendChoice::Only(BackendKind::Nodev) => &[BackendKind::Nodev],
        BackendChoice::Only(BackendKind::Copy) => &[BackendKind::Copy],
    };
    let mut refused = Vec::new();
    for kind in candidates {
        match attempt(ring, config, *kind) {
            Ok((backend, pool)) => {
                let selection = Selection { backend: Some(*kind), refused };
                return Ok(Selected { backend, pool, selection });
            }
            Err(refusal) => refused.push(refusal),
        }
    }
    Err(ReceiveError::NoBackend { refused })
}

type Attempt = Result<(Box<dyn Backend>, Pool), Refusal>;

fn attempt(ring: &Ring, config: &QueueConfig, kind: BackendKind) -> Attempt {
    match kind {
        BackendKind::Device => device(ring, config),
        BackendKind::Nodev => ZcrxBackend::register_nodev(ring, config).map(boxed),
        BackendKind::Copy => CopyBackend::register(ring, config).map(boxed),
    }
}

fn device(ring: &Ring, config: &QueueConfig) -> Attempt {
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
    let Some(index) = ifindex(interface) else {
        return Err(refuse(Some(libc::ENODEV), "the interface is gone", "bring it back"));
    };
    ZcrxBackend::register_device(ring, config, interface, index).map(boxed)
}

/// Refuses an interface that is not there, and a queue that it does not have: bad input, whatever the backend.
///
/// Many drivers refuse zcrx with an errno that says nothing of the queue's index, so it is looked at first.
pub(in crate::receive) fn check_interface(config: &QueueConfig) -> Result<(), ReceiveError> {
    let Some(interface) = config.interface.clone() else { return Ok(()) };
    if ifindex(&interface).is_none() {
        return Err(ReceiveError::NoInterface { interface });
    }
    match receive_queues(&interface) {
        Some(queues) if config.queue >= queues => {
            Err(ReceiveError::NoQueue { interface, queue: config.queue, queues })
        }
        _ => Ok(()),
    }
}

fn boxed<B: Backend + 'static>((backend, pool): (B, Pool)) -> (Box<dyn Backend>, Pool) {
    (Box::new(backend), pool)
}

/// How many receive queues an interface has, where sysfs tells.
fn receive_queues(interface: &str) -> Option<u32> {
    let queues = fs::read_dir(format!("/sys/class/net/{interface}/queues")).ok()?;
    let receive = queues.flatten().filter(|queue| queue.file_name().to_string_lossy().starts_with("rx-"));
    u32::try_from(receive.count()).ok().filter(|count| *count > 0)
}
