//! The end of the queues, and what counts as a receive thread that hangs.
//!
//! Thousands of connections, or a busy machine, make a stop slow. Only a thread that does nothing hangs. Therefore the limit holds
//! for the time in which no thread takes a step (a batch of completions, or the end of a connection), not for the stop as a whole.
//! The time is counted in checks. The thread that checks waits for a processor like the receive threads: if it comes late, they
//! had no processor either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::reload::ReadAgain;
use super::sources::Sources;
use super::store::Store;
use super::{DaemonError, Signals, events, restart};
use crate::model::{QueueState, ReceiveSample};

/// Time after the first signal in which another signal counts as its twin: GNU timeout and some supervisors signal the process
/// and then its group.
const TWIN_SIGNAL: Duration = Duration::from_secs(1);

/// Pause between two checks of the receive threads.
const CHECK: Duration = Duration::from_millis(30);
/// Number of checks without a step after which a receive thread hangs: 0.9 s on an idle machine.
const CHECKS_WITHOUT_A_STEP: u32 = 30;
/// Number of checks after which zcrxd gives up on threads that take steps and do not end: 4 s on an idle machine. With the
/// default time for sinks, the stop then ends before systemd's `TimeoutStopSec`.
const CHECKS: u32 = 133;

/// What follows the end of zcrxd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Nothing,
    /// systemd starts zcrxd again at once, with the listening sockets of this one.
    Restart,
}

impl Next {
    /// What follows the end that a signal requests. systemd sends SIGTERM.
    pub(super) async fn after(signal: &str, store: &Store, read_again: &ReadAgain<'_>) -> Self {
        if signal != "SIGTERM" || !store.is_open() {
            return Self::Nothing;
        }
        if let Err(error) = read_again() {
            warn!("ending connections as for a stop, since zcrxd would not start again: {error}");
            return Self::Nothing;
        }
        match tokio::task::spawn_blocking(restart::is_requested).await {
            Ok(true) => {
                events::restarting();
                Self::Restart
            }
            _ => Self::Nothing,
        }
    }
}

/// Stops the queues, then restores their interfaces, whatever signals arrive.
///
/// A second signal ends the waits: that of the sinks for their destinations, and that for the kernel to release a queue. One
/// attempt to restore the interfaces is always made, also if a receive thread did not end in time.
pub(super) async fn stop_receiving(
    sources: &Arc<Sources>,
    signals: &mut Signals,
    next: Next,
    store: &Arc<Store>,
) -> Result<Vec<ReceiveSample>, DaemonError> {
    let hurry = Arc::new(AtomicBool::new(false));
    let ending = async {
        let ended = stop(sources, &hurry, next, store).await;
        if ended.is_err() {
            hurry.store(true, Ordering::Relaxed);
        }
        sources.put_back(Arc::clone(&hurry)).await;
        ended
    };
    tokio::pin!(ending);
    let begun = Instant::now();
    loop {
        tokio::select! {
            ended = &mut ending => return ended,
            name = signals.stop() => {
                if begun.elapsed() >= TWIN_SIGNAL && !hurry.swap(true, Ordering::Relaxed) {
                    info!("{name} again: no longer waiting for sinks, nor for the kernel to release queues");
                    sources.abort();
                }
            }
        }
    }
}

/// Stops all receive threads and returns the last samples of their queues. Fails if the threads hang after the time of the sinks,
/// which ends early when `hurry` is set.
async fn stop(
    sources: &Sources,
    hurry: &AtomicBool,
    next: Next,
    store: &Arc<Store>,
) -> Result<Vec<ReceiveSample>, DaemonError> {
    let Some(receiver) = sources.receiver() else { return Ok(Vec::new()) };
    let drained_by = Instant::now() + receiver.drain_timeout();
    let stopped = Arc::clone(&receiver);
    let mut stopping = tokio::task::spawn_blocking(move || match next {
        Next::Nothing => stopped.stop(),
        Next::Restart => stopped.stop_before_restart(),
    });
    let mut limit = Limit::default();
    loop {
        match tokio::time::timeout(CHECK, &mut stopping).await {
            Ok(Ok(last)) => {
                if next == Next::Restart {
                    let (store, left) = (Arc::clone(store), receiver.take_left());
                    let leave = tokio::task::spawn_blocking(move || store.leave_connections(left));
                    sources.keep_for_next(&leave.await.unwrap_or_default());
                }
                sources.ended(&last);
                return Ok(last);
            }
            // A panic has been printed.
            Ok(Err(_)) => break,
            Err(_) if Instant::now() < drained_by && !hurry.load(Ordering::Relaxed) => {}
            Err(_) if limit.is_reached(receiver.steps()) => break,
            Err(_) => {}
        }
    }
    let running = receiver.sample().into_iter().filter(|queue| queue.state != QueueState::Stopped);
    let queues: Vec<_> = running.map(|queue| queue.key.to_string()).collect();
    Err(DaemonError::Hung { queues: queues.join(", ") })
}

/// How long zcrxd waits for its receive threads.
#[derive(Default)]
struct Limit {
    checks: u32,
    without_a_step: u32,
    steps: u64,
}

impl Limit {
    /// Checks the number of steps that all threads have taken. Returns whether zcrxd waits no longer.
    fn is_reached(&mut self, steps: u64) -> bool {
        self.checks += 1;
        self.without_a_step = if steps == self.steps { self.without_a_step + 1 } else { 0 };
        self.steps = steps;
        self.without_a_step >= CHECKS_WITHOUT_A_STEP || self.checks >= CHECKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number of checks until the limit is reached, with the steps taken before each check.
    fn checks(mut steps: impl FnMut(u32) -> u64) -> u32 {
        let mut limit = Limit::default();
        let mut check = 1;
        while !limit.is_reached(steps(check)) {
            check += 1;
        }
        check
    }

    #[test]
    fn thread_that_takes_no_step_hangs_after_a_second() {
        assert_eq!(checks(|_| 0), CHECKS_WITHOUT_A_STEP);
        assert_eq!(checks(|check| u64::from(check.min(50))), 50 + CHECKS_WITHOUT_A_STEP);
    }

    #[test]
    fn slow_stop_ends_at_the_limit_for_the_whole() {
        assert_eq!(checks(|check| u64::from(check / 20)), CHECKS);
    }
}
