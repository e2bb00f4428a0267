//! Facts of one sample, computed once, when the sample arrives.

use std::time::Duration;

use super::change::Change;
use super::placement::Placement;

/// Facts of one sample, and the changes since the previous sample.
#[derive(Clone, Debug)]
pub struct Step {
    /// When the sample was taken, CLOCK_MONOTONIC.
    pub at: Duration,
    /// Places of the buffers.
    pub placement: Placement,
    /// Changes since the previous sample; all unknown for the first one.
    pub change: Change,
    /// References that the owner's code held.
    pub held: Option<u64>,
    /// Buffers that an allocation could still get.
    pub available: Option<u64>,
    /// The same, percent of the area.
    pub available_percent: Option<u8>,
    /// Payload received since the previous sample, bytes a second.
    pub bytes_per_second: Option<u64>,
    /// Begin of the failed allocations, by the probe's time stamp.
    pub starving_since: Option<Duration>,
    /// Whether a receive of the software interface queue waited for a buffer.
    pub software_starving: bool,
    /// Whether the refill ring was full at any known time since the previous sample.
    pub refill_full: bool,
}
