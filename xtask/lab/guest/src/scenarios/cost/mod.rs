//! What receiving, probing and observing cost, in instructions; `cargo xtask bench` makes docs/overhead.md of it.
//!
//! `cargo xtask regenerate` writes what follows.

mod forwarding;
mod gates;
mod observing;
mod receiving;

use crate::harness::scenario::Scenario;

/// The scenarios of each file.
#[rustfmt::skip]
pub(super) const FILES: &[&[Scenario]] = &[
    forwarding::SCENARIOS,
    gates::SCENARIOS,
    observing::SCENARIOS,
    receiving::SCENARIOS,
];
