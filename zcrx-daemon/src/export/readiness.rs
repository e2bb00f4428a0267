//! Whether every configured part of the daemon works.

use crate::model::{QueueState, ReceiveSample};

/// Where the daemon's own life stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Probes and queues are being set up.
    Starting,
    /// Everything that was configured was started.
    Running,
    /// zcrxd is stopping.
    Stopping,
}

/// Reasons why the daemon is not ready, one line each; none if it is.
///
/// A queue on a lesser backend is ready, since it receives; one that does not receive is not.
pub fn not_ready(phase: Phase, queues: &[ReceiveSample]) -> Vec<String> {
    let mut reasons = match phase {
        Phase::Starting => vec!["starting".to_owned()],
        Phase::Running => Vec::new(),
        Phase::Stopping => vec!["stopping".to_owned()],
    };
    let not_receiving =
        queues.iter().filter(|queue| matches!(queue.state, QueueState::Failed | QueueState::Stopped));
    reasons.extend(
        not_receiving
            .map(|queue| format!("queue {} {}: {}", queue.key, queue.state.name(), queue.state_reason)),
    );
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::queue;

    #[test]
    fn a_daemon_without_queues_is_ready_once_it_runs() {
        assert_eq!(not_ready(Phase::Starting, &[]), ["starting"]);
        assert!(not_ready(Phase::Running, &[]).is_empty());
        assert_eq!(not_ready(Phase::Stopping, &[]), ["stopping"]);
    }

    #[test]
    fn a_failed_queue_is_named_with_its_reason_and_a_degraded_one_is_ready() {
        let mut failed = queue();
        failed.state = QueueState::Failed;
        failed.state_reason = "the interface is gone".to_owned();
        assert_eq!(
            not_ready(Phase::Running, &[queue(), failed]),
            ["queue eth0:3 failed: the interface is gone"]
        );
    }
}
