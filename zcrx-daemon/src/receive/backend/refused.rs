//! What a refused registration means.

use std::io;

use crate::model::{BackendKind, Refusal};
use crate::net;
use crate::receive::config::QueueConfig;
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

/// Why buffers are smaller than asked for. Where their size is not all that is wrong, the registration with pages is refused too.
pub(super) fn no_such_buffers(kind: BackendKind, asked: u64, got: u64, number: i32) -> String {
    let name = errno::name(number).unwrap_or("an unknown errno");
    let meaning = registration::explain(number, table(kind)).meaning;
    format!("buffers of {got} bytes instead of {asked}: {name}: {meaning}")
}

const fn table(kind: BackendKind) -> registration::Kind {
    match kind {
        BackendKind::Nodev => registration::Kind::Nodev,
        BackendKind::Device | BackendKind::Copy => registration::Kind::Device,
    }
}
