//! What one sample of a queue shows, computed once, when it arrives.

use std::time::Duration;

use super::change::Change;
use super::placement::Placement;

/// What one sample shows, and what changed since the sample before.
#[derive(Clone, Debug)]
pub struct Step {
    /// When the sample was taken, CLOCK_MONOTONIC.
    pub at: Duration,
    /// Where the buffers were.
    pub placement: Placement,
    /// What changed since the sample before; all unknown for the first one.
    pub change: Change,
    /// References that the owner's code held.
    pub held: Option<u64>,
    /// Buffers that an allocation could still get.
    pub available: Option<u64>,
    /// Since when allocations failed, as the kernel's probe stamps it.
    pub starving_since: Option<Duration>,
    /// Whether a receive of the software interface queue waited for a buffer.
    pub software_starving: bool,
    /// Whether the refill ring was full at any time since the sample before, as far as that is known.
    pub refill_full: bool,
}
