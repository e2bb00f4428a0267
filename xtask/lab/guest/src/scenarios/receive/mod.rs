//! zcrxd's local receive queues: backends, many connections, errors, recovery.
//!
//! `cargo xtask regenerate` writes what follows.

mod backends;
mod completions;
mod cost;
mod ends;
mod example;
mod features;
mod flows;
mod pressure;
mod random;
mod recovery;
mod restart;
mod waits;
mod workers;

use crate::harness::scenario::Scenario;

/// The scenarios of each file.
#[rustfmt::skip]
pub(super) const FILES: &[&[Scenario]] = &[
    backends::SCENARIOS,
    completions::SCENARIOS,
    cost::SCENARIOS,
    ends::SCENARIOS,
    example::SCENARIOS,
    features::SCENARIOS,
    flows::SCENARIOS,
    pressure::SCENARIOS,
    random::SCENARIOS,
    recovery::SCENARIOS,
    restart::SCENARIOS,
    waits::SCENARIOS,
    workers::SCENARIOS,
];
