//! What a refused registration means.

use std::io;

use crate::model::{BackendKind, Refusal};
use crate::net;
use crate::receive::config::QueueConfig;
use crate::receive::mapping::page_bytes;
use zcrx_uapi::{errno, registration};

/// Describes a refused registration.
pub(super) fn refusal(config: &QueueConfig, kind: BackendKind, step: &str, error: &io::Error) -> Refusal {
    let explanation = registration::explain(error.raw_os_error().unwrap_or(0), table(kind));
    // The state of the interface is more specific than the errno.
    let shown = match (&config.interface, error.raw_os_error(), kind) {
        (Some(interface), Some(errno), BackendKind::Device) => net::hint(interface, config.queue, errno),
        _ => Vec::new(),
    };
    Refusal {
        backend: kind,
        step: step.to_owned(),
        errno: error.raw_os_error(),
        reason: explanation.meaning.to_owned(),
        remedy: [vec![explanation.remedy.to_owned()], shown].concat().join("; "),
    }
}

/// Why there are no large buffers. Where that is not all that is wrong, the registration without them is refused too.
pub(super) fn no_such_buffers(kind: BackendKind, buffer_bytes: u64, number: i32) -> String {
    let name = errno::name(number).unwrap_or("an unknown errno");
    let meaning = registration::explain(number, table(kind)).meaning;
    format!("buffers of {} bytes instead of {buffer_bytes}: {name}: {meaning}", page_bytes())
}

const fn table(kind: BackendKind) -> registration::Kind {
    match kind {
        BackendKind::Nodev => registration::Kind::Nodev,
        BackendKind::Device | BackendKind::Copy => registration::Kind::Device,
    }
}
