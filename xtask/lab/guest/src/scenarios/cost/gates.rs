//! The few figures that a change must not raise.

use zcrx_lab_guest::protocol::Need;

use super::{observing, receiving};
use crate::harness::instructions::require_counting;
use crate::harness::scenario::Scenario;

/// The scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[GATES];

/// The few figures that a change must not raise.
const GATES: Scenario = Scenario {
    name: "cost-gates",
    about: "the gated costs: receive loop, default probes, observing sixteen queues (bench --check)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Nic, Need::Btf],
    proves: &[],
    limit: 1200,
    default: false,
    run: || {
        require_counting()?;
        receiving::gates()?;
        observing::queues(&[0, 16])
    },
};
