//! Snapshot, probes and causes of starvation, against the truth of the application, the NIC and the kernel.
//!
//! `cargo xtask regenerate` writes what follows.

mod accuracy;
mod adversity;
mod delivery;
mod failures;
mod faults;
mod foreign_queue;
mod foreign_snapshot;
mod healthy;
mod importers;
mod local_queue;
mod moved_fields;
mod napi;
mod owner;
mod owner_state;
mod probes;
mod residence;
mod residence_cost;
mod restarted;
mod sizes;
mod sizes_random;
mod starvation;
mod stories;
mod teardown;
mod top_sockets;
mod view_random;

use crate::harness::scenario::Scenario;

/// The scenarios of each file.
#[rustfmt::skip]
pub(super) const FILES: &[&[Scenario]] = &[
    accuracy::SCENARIOS,
    adversity::SCENARIOS,
    delivery::SCENARIOS,
    failures::SCENARIOS,
    faults::SCENARIOS,
    foreign_queue::SCENARIOS,
    foreign_snapshot::SCENARIOS,
    healthy::SCENARIOS,
    importers::SCENARIOS,
    local_queue::SCENARIOS,
    moved_fields::SCENARIOS,
    napi::SCENARIOS,
    owner::SCENARIOS,
    owner_state::SCENARIOS,
    probes::SCENARIOS,
    residence::SCENARIOS,
    residence_cost::SCENARIOS,
    restarted::SCENARIOS,
    sizes::SCENARIOS,
    sizes_random::SCENARIOS,
    starvation::SCENARIOS,
    stories::SCENARIOS,
    teardown::SCENARIOS,
    top_sockets::SCENARIOS,
    view_random::SCENARIOS,
];
