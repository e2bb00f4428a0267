//! What an interface is wanted for: queues for zcrx, and the flows that are to reach them.

use serde::{Deserialize, Serialize};

use super::flow::Flow;
use super::step::same_rule;
use crate::model::FlowRule;

/// What an interface is wanted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Queues for zcrx.
    pub queues: Vec<u32>,
    /// Flows that are to reach them.
    pub flows: Vec<Flow>,
    /// Flows that zcrxd steered before and that are to be left to RSS again.
    #[serde(default)]
    pub dropped: Vec<Flow>,
}

/// A wish that no interface can fulfil.
#[derive(Debug, thiserror::Error)]
pub enum WantedError {
    /// No queue.
    #[error("no queue is named: say which queues zcrx shall have (--queues 1,2)")]
    NoQueue,
    /// A flow goes to a queue that is not zcrx's.
    #[error(
        "{flow} goes to queue {queue}, which is none of the zcrx queues {queues:?}: name it there too, or choose another"
    )]
    ForeignQueue {
        /// The flow.
        flow: Flow,
        /// Its queue.
        queue: u32,
        /// The queues asked for.
        queues: Vec<u32>,
    },
    /// One flow, two queues.
    #[error("{0} is asked for twice: one flow goes to one queue")]
    Twice(Flow),
}

impl Wanted {
    /// Checks a wish, and gives each flow without a queue the next zcrx queue in turn.
    pub fn new(mut queues: Vec<u32>, flows: &[Flow]) -> Result<Self, WantedError> {
        queues.sort_unstable();
        queues.dedup();
        if queues.is_empty() {
            return Err(WantedError::NoQueue);
        }
        let mut placed: Vec<Flow> = Vec::with_capacity(flows.len());
        let mut turn = queues.iter().cycle();
        for flow in flows {
            if placed.iter().any(|other| (other.ipv6, other.port) == (flow.ipv6, flow.port)) {
                return Err(WantedError::Twice(*flow));
            }
            match flow.queue {
                Some(queue) if !queues.contains(&queue) => {
                    return Err(WantedError::ForeignQueue { flow: *flow, queue, queues });
                }
                Some(_) => placed.push(*flow),
                None => placed.push(Flow { queue: turn.next().copied(), ..*flow }),
            }
        }
        Ok(Self { queues, flows: placed, dropped: Vec::new() })
    }

    /// Whether a rule is zcrxd's own and steers a flow that is to be dropped.
    pub(super) fn drops(&self, rule: &FlowRule, ours: &[FlowRule]) -> bool {
        self.dropped.iter().any(|flow| flow.steered_by(rule).is_some())
            && ours.iter().any(|other| same_rule(other, rule))
    }

    /// Number of receive queues needed: the zcrx queues and at least one for ordinary traffic.
    pub(super) fn queues_needed(&self) -> u32 {
        let highest = self.queues.last().copied().unwrap_or(0);
        (highest + 1).max(self.queues.len() as u32 + 1)
    }
}
