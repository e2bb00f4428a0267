//! One sample of the whole host.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{ProbeSample, QueueSample, ReceiveSample};

/// One joined sample, from which all views and exports are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSample {
    /// Time of the sample.
    pub at: SystemTime,
    /// Kernel release, as uname reports it.
    pub kernel: String,
    /// Local queues.
    pub receive: Vec<ReceiveSample>,
    /// Results of the probes.
    pub probe: ProbeSample,
    /// Every local and foreign queue, with all known figures.
    pub queues: Vec<QueueSample>,
}
