//! What a receive thread measures of its ring: the user half of the correlation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Histogram;

/// Figures of one own queue, each at a cost that does not grow with the size of a batch. Counters count from the start
/// of the receive thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RingStatistics {
    /// How long a buffer was held: from the batch its completion was reaped in until its entry was published.
    pub hold: Histogram,
    /// Refill entries that waited right after a batch of them was published.
    pub refill_depth: Histogram,
    /// Entries published at once.
    pub published: Histogram,
    /// Times that entries were left over after a publication, because the refill ring was full.
    pub refill_full: u64,
    /// Completions found waiting when a batch was begun.
    pub cq_depth: Histogram,
    /// How long the buffer that is held longest has been held; `None` while none is.
    pub oldest_held: Option<Duration>,
    /// Times the kernel was told to consume the refill ring; `None` where it cannot be told.
    pub flushes: Option<u64>,
    /// Receives that ended for want of a buffer and were armed again.
    pub retries: u64,
}
