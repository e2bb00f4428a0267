//! Everything that is known of this host at one moment.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{ProbeSample, QueueSample, ReceiveSample};

/// One joined observation: what every view and every export is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSample {
    /// When it was taken.
    pub at: SystemTime,
    /// Kernel release, as uname says it.
    pub kernel: String,
    /// Local queues.
    pub receive: Vec<ReceiveSample>,
    /// The kernel's side.
    pub probe: ProbeSample,
    /// Every queue, own and other, with all that is known of it.
    pub queues: Vec<QueueSample>,
}
