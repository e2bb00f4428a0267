//! Registrations that the kernel accepts and refuses.
//!
//! `cargo xtask regenerate` writes what follows.

mod conformance;
mod registration_errors;
mod requests;

use crate::harness::scenario::Scenario;

/// The scenarios of each file.
#[rustfmt::skip]
pub(super) const FILES: &[&[Scenario]] = &[
    conformance::SCENARIOS,
    registration_errors::SCENARIOS,
    requests::SCENARIOS,
];
