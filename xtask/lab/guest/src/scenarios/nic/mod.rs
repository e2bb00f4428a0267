//! Preparing a NIC for zcrx and checking a host.
//!
//! `cargo xtask regenerate` writes what follows.

mod altered;
mod check;
mod drivers;
mod fbnic;
mod gve;
mod personalities;
mod preparation;
mod qualified;
mod reloading;

use crate::harness::scenario::Scenario;

/// The scenarios of each file.
#[rustfmt::skip]
pub(super) const FILES: &[&[Scenario]] = &[
    altered::SCENARIOS,
    check::SCENARIOS,
    drivers::SCENARIOS,
    fbnic::SCENARIOS,
    gve::SCENARIOS,
    personalities::SCENARIOS,
    preparation::SCENARIOS,
    qualified::SCENARIOS,
    reloading::SCENARIOS,
];
