//! zcrxd's local receive queues: backends, many connections, errors, recovery.

pub(super) mod backends;
pub(super) mod completions;
pub(super) mod ends;
pub(super) mod features;
pub(super) mod flows;
pub(super) mod pressure;
pub(super) mod recovery;
pub(super) mod workers;
