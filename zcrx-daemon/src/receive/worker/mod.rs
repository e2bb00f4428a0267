//! The thread of one queue: makes a ring, registers the queue, receives until it is told to stop.

mod accept;
mod backlog;
mod close;
mod connection;
mod ends;
mod events;
mod file;
mod forward;
mod op;
mod outbox;
mod placement;
mod receive;
mod remains;
mod retry;
mod session;
mod sinks;
mod thread;
mod watch;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tracing::{error, info, warn};

use self::remains::Graveyard;
use self::session::Session;
use super::ReceiveError;
use super::config::{BackendChoice, QueueConfig};
use super::crew::Seat;
use super::desk::{Desk, Exchange};
use super::error::describe_refusal;
use super::pool::degradation;
use super::stats::{Counters, Stats};
use super::target::Target;
use super::wake::Wake;
use crate::model::{BackendKind, QueueState, Selection};

/// Pauses between attempts to bring a failed queue back.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// All that a receive thread needs. Outlives any one ring: listeners stay when a queue is registered again.
pub(super) struct Plan {
    /// The queue's name in logs.
    pub(super) name: String,
    pub(super) config: QueueConfig,
    pub(super) listeners: Vec<TcpListener>,
    /// Of a forward sink.
    pub(super) target: Option<Target>,
    /// Where other threads leave connections for this one.
    pub(super) desk: Arc<Desk>,
    /// Where this one finds the others.
    pub(super) exchange: Arc<Exchange>,
    pub(super) stats: Arc<Stats>,
    pub(super) wake: Arc<Wake>,
    /// Where the queue has several threads.
    pub(super) seat: Option<Seat>,
}

impl Plan {
    /// What each of the queue's threads has of a limit that is the queue's.
    fn share(&self, limit: u64) -> u64 {
        if self.seat.is_some() { limit / u64::from(self.config.workers.max(1)) } else { limit }
    }
}

/// The thread's whole life. Tells `started` how the first registration went, and ends if it failed.
pub(super) fn run(plan: &Plan, started: &SyncSender<Result<Selection, ReceiveError>>) {
    thread::pin(plan);
    let mut session = match Session::open(plan, &Counters::default()) {
        Ok(session) => session,
        Err(error) => {
            plan.stats.turned(QueueState::Failed, &error.to_string());
            // Nobody listens any more only if the starter is gone, and with it the interest.
            let _gone = started.send(Err(error));
            return;
        }
    };
    running(plan, session.selection());
    let _gone = started.send(Ok(session.selection().clone()));
    let mut graveyard = Graveyard::default();
    loop {
        plan.desk.set_open(session.selection().backend == Some(BackendKind::Device));
        if let Some(shared) = session.take_shared()
            && let Some(seat) = &plan.seat
        {
            seat.crew.open(shared);
        }
        let result = session.run();
        plan.desk.set_open(false);
        let (counters, remains) = session.close();
        graveyard.keep(remains);
        if let Some(seat) = &plan.seat {
            seat.crew.close();
        }
        let Err(failure) = result else { break };
        error!(queue = plan.name, %failure, "queue failed");
        plan.stats.turned(QueueState::Failed, &failure.to_string());
        match reopen(plan, &counters) {
            Some(reopened) => session = reopened,
            None => break,
        }
        running(plan, session.selection());
    }
    plan.stats.turned(QueueState::Stopped, "stopped on request");
}

/// The whole life of a thread that joins the queue of another.
pub(super) fn assist(plan: &Plan) {
    thread::pin(plan);
    let Some(seat) = &plan.seat else { return };
    let mut counters = Counters::default();
    let mut graveyard = Graveyard::default();
    let mut last = 0;
    plan.stats.turned(QueueState::Stopped, "no queue to join yet");
    while let Some(joined) = seat.join(last) {
        last = joined.generation;
        let failure = match Session::join(plan, &joined, &counters) {
            Ok(mut session) => {
                plan.stats.turned(QueueState::Running, "");
                plan.desk.set_open(true);
                let result = session.run();
                seat.hand_back();
                let (after, remains) = session.close();
                counters = after;
                graveyard.keep(remains);
                plan.stats.turned(QueueState::Stopped, "its queue is gone");
                result.err().map(|failure| {
                    error!(queue = plan.name, worker = seat.index, %failure, "a ring of the queue failed");
                    failure.to_string()
                })
            }
            // The others can do without it.
            Err(error) => {
                error!(queue = plan.name, worker = seat.index, %error, "cannot join the queue");
                plan.stats.turned(QueueState::Failed, &error.to_string());
                None
            }
        };
        drop(joined);
        seat.leave(failure);
    }
    plan.stats.turned(QueueState::Stopped, "stopped on request");
}

/// Tries until it works (or until it is stopped: `None`).
fn reopen<'p>(plan: &'p Plan, counters: &Counters) -> Option<Session<'p>> {
    let mut pause = FIRST_PAUSE;
    loop {
        plan.wake.sleep(pause);
        if plan.wake.stopped() {
            return None;
        }
        match Session::open(plan, counters) {
            Ok(session) => return Some(session),
            Err(error) => {
                warn!(queue = plan.name, %error, "queue is still failed");
                plan.stats.turned(QueueState::Failed, &error.to_string());
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Says what the queue runs on, and why not on something better.
fn running(plan: &Plan, selection: &Selection) {
    let Some(kind) = selection.backend else { return };
    for refusal in &selection.refused {
        info!(queue = plan.name, "{}", describe_refusal(refusal));
    }
    let asked_for = plan.config.backend == BackendChoice::Only(kind) || kind == BackendKind::Device;
    if asked_for {
        info!(queue = plan.name, backend = %kind, "receiving");
        plan.stats.turned(QueueState::Running, "");
    } else {
        let why = selection.refused.iter().map(describe_refusal).collect::<Vec<_>>().join("; ");
        let reason = format!("backend {kind}: {}. {why}", degradation(kind));
        warn!(queue = plan.name, backend = %kind, "receiving, degraded: {}", degradation(kind));
        plan.stats.turned(QueueState::Degraded, &reason);
    }
}
