//! Interfaces, drivers, daemons and network namespaces that come and go.
//!
//! `cargo xtask regenerate` writes what follows.

mod boot;
mod churn;
mod lifecycle_faults;
mod netns;

use crate::harness::scenario::Scenario;

/// The scenarios of each file.
#[rustfmt::skip]
pub(super) const FILES: &[&[Scenario]] = &[
    boot::SCENARIOS,
    churn::SCENARIOS,
    lifecycle_faults::SCENARIOS,
    netns::SCENARIOS,
];
