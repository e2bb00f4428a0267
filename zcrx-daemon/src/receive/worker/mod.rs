//! The thread of one queue: registers the queue, receives until zcrxd stops it, and registers the queue again when it fails.
//!
//! | Module | Idea |
//! |---|---|
//! | `prepared` | a ring with a registered queue |
//! | `event_loop` | one turn: submit, wait, handle a batch |
//! | `state` | the state that handlers change, and the dispatch of completions to handlers |
//! | `arriving`, `receiving`, `delivering`, `helping` | the handlers |
//! | `lending` | registers the area, so that sinks send from it without a copy |
//! | `lifecycle` | the end of a loop: drained, closed, or continued by the next loop |
//! | `requests`, `op` | queued requests, and the request that a completion belongs to |
//! | `timers`, `retry` | due times |
//! | `report` | counters, and their publication to other threads |
//! | `retired` | memory of rings whose requests did not end |

mod arriving;
mod delivering;
mod event_loop;
mod helping;
mod lending;
mod lifecycle;
pub(super) mod op;
mod payload;
mod prepared;
mod receiving;
mod report;
pub(super) mod requests;
mod retired;
pub(super) mod retry;
mod state;
mod thread;
mod timers;

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tracing::{error, info, warn};

use self::event_loop::EventLoop;
use self::retired::{RetiredRing, RetiredRings};
use self::state::{Carried, Ended};
use super::ReceiveError;
use super::backend::Shared;
use super::choices::BackendChoice;
use super::error::describe_refusal;
use super::plan::Plan;
use super::pool::degradation;
use super::prepared::{Prepared, with_current_name};
use super::stats::Counters;
use crate::model::{BackendKind, QueueState, Selection};

/// Pauses between attempts to register a failed queue again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Marks the queue as failed if its thread panics: a queue without a thread must not look as if it ran.
struct PanicWatch<'p>(&'p Plan);

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.inbox.set_open(false);
            self.0
                .stats
                .turned(QueueState::Failed, "its receive thread panicked: restart zcrxd and report this");
            if let Some(slot) = &self.0.slot {
                slot.abandon("a receive thread panicked");
            }
        }
    }
}

/// Runs the thread. Sends the result of the first registration to `started`, and returns if that failed.
pub(super) fn run(plan: &Plan, started: &SyncSender<Result<Selection, ReceiveError>>) {
    thread::pin(plan);
    let _watch = PanicWatch(plan);
    let (prepared, mut shared) = match first(plan) {
        Ok(prepared) => prepared,
        Err(error) => {
            plan.stats.turned(QueueState::Failed, &error.to_string());
            // The receiver is gone only if the starter gave up.
            let _gone = started.send(Err(error));
            return;
        }
    };
    let mut retired = RetiredRings::default();
    let mut event_loop = EventLoop::new(plan, prepared, None, Carried::new(plan, &Counters::default()));
    let mut started = Some(started);
    let mut hands_over = false;
    let last = loop {
        announce(plan, &event_loop.state.selection);
        if let Some(started) = started.take() {
            let _gone = started.send(Ok(event_loop.state.selection.clone()));
        }
        open(plan, &event_loop, shared.take());
        let ended = event_loop.run(&mut retired);
        plan.inbox.set_open(false);
        let (failure, carried) = match ended {
            Ended::Stopped | Ended::Left | Ended::HandOver => {
                hands_over = matches!(ended, Ended::HandOver);
                let (counters, ring) = end(plan, event_loop, hands_over);
                retired.keep(ring);
                break counters;
            }
            Ended::Upgrade(mut prepared) => {
                info!(queue = plan.name, "a better backend is ready: moving the connections there");
                let (carried, ring) = event_loop.detach();
                retired.keep(ring);
                match prepared::enable(&mut prepared, plan) {
                    Ok(()) => {
                        event_loop = EventLoop::new(plan, *prepared, None, carried);
                        continue;
                    }
                    Err(error) => (error.into(), carried),
                }
            }
            Ended::Failed(failure) => {
                error!(queue = plan.name, %failure, "queue failed");
                plan.stats.turned(QueueState::Failed, &failure.to_string());
                let (carried, ring) = give_up(plan, event_loop, &failure);
                retired.keep(ring);
                (failure, carried)
            }
        };
        if let Some(slot) = &plan.slot {
            slot.group.close();
        }
        plan.stats.turned(QueueState::Failed, &failure.to_string());
        let Some((prepared, again)) = reopen(plan) else {
            break carried.abandon(plan);
        };
        shared = again;
        event_loop = EventLoop::new(plan, prepared, None, carried);
    };
    if let Some(slot) = &plan.slot {
        slot.group.close();
    }
    lifecycle::end_waiting(plan, last, hands_over);
    plan.stats.turned(QueueState::Stopped, "stopped on request");
}

/// Continues the queue of the zcrxd before, or registers one.
fn first(plan: &Plan) -> Result<(Prepared, Option<Shared>), ReceiveError> {
    let Some(queue) = plan.taken_over.take_queue() else { return prepared::best(plan) };
    match prepared::taken_over(plan, queue) {
        Ok(prepared) => {
            info!(queue = plan.name, "continuing the hardware queue of the zcrxd before");
            Ok((prepared, None))
        }
        Err(error) => {
            warn!(queue = plan.name, %error, "the hardware queue of the zcrxd before cannot go on: its connections end");
            plan.taken_over.refuse();
            prepared::best(plan)
        }
    }
}

/// Lets other threads hand connections to this thread and join its queue.
fn open(plan: &Plan, event_loop: &EventLoop<'_>, shared: Option<Shared>) {
    plan.stats.registered_on(event_loop.state.ifindex);
    plan.inbox.registered_on(event_loop.state.ifindex);
    plan.inbox.set_open(event_loop.state.selection.backend == Some(BackendKind::Device));
    if let (Some(shared), Some(slot)) = (shared, &plan.slot) {
        slot.group.open(shared);
    }
}

/// Ends a failed loop. Keeps its connections if only the interface has changed, because the ring can still end their requests.
fn give_up(plan: &Plan, event_loop: EventLoop<'_>, failure: &ReceiveError) -> (Carried, Option<RetiredRing>) {
    if matches!(failure, ReceiveError::InterfaceChanged { .. }) && plan.slot.is_none() {
        return event_loop.detach();
    }
    let (counters, ring) = event_loop.close();
    (Carried::new(plan, &counters), ring)
}

/// Ends a loop for good: leaves its connections to the next zcrxd, or closes them.
fn end(plan: &Plan, event_loop: EventLoop<'_>, hands_over: bool) -> (Counters, Option<RetiredRing>) {
    if !hands_over {
        return event_loop.close();
    }
    match event_loop.leave_queue() {
        Ok(queue) => plan.left.put_queue(queue),
        Err(error) => {
            error!(queue = plan.name, %error, "the queue cannot be exported: its connections end");
            return event_loop.close();
        }
    }
    let (carried, ring) = event_loop.detach();
    (carried.hand_over(plan), ring)
}

/// Runs a thread that joins another thread's queue.
pub(super) fn assist(plan: &Plan) {
    thread::pin(plan);
    let Some(slot) = &plan.slot else { return };
    let _watch = PanicWatch(plan);
    let mut counters = Counters::default();
    let mut retired = RetiredRings::default();
    let mut last = 0;
    plan.stats.turned(QueueState::Stopped, "no queue to join yet");
    while let Some(joined) = slot.join(last) {
        last = joined.generation;
        let failure = match prepared::joined(plan, &joined) {
            Ok(prepared) => {
                let carried = Carried::new(plan, &counters);
                let mut event_loop = EventLoop::new(plan, prepared, Some(joined.generation), carried);
                plan.stats.turned(QueueState::Running, "");
                plan.inbox.set_open(true);
                let ended = event_loop.run(&mut retired);
                slot.hand_back();
                let hands_over = matches!(ended, Ended::HandOver);
                let (after, ring) = end(plan, event_loop, hands_over);
                counters = after;
                retired.keep(ring);
                plan.stats.turned(QueueState::Stopped, "its queue is gone");
                match ended {
                    Ended::Failed(failure) => {
                        error!(queue = plan.name, worker = slot.index, %failure, "a ring of the queue failed");
                        Some(failure.to_string())
                    }
                    Ended::Stopped | Ended::Left | Ended::HandOver | Ended::Upgrade(_) => None,
                }
            }
            // The other threads receive without this one.
            Err(error) => {
                error!(queue = plan.name, worker = slot.index, %error, "cannot join the queue");
                plan.stats.turned(QueueState::Failed, &error.to_string());
                None
            }
        };
        drop(joined);
        slot.leave(failure);
    }
    plan.stats.turned(QueueState::Stopped, "stopped on request");
}

/// Registers the queue again, with pauses, until that succeeds. Returns `None` when the thread must stop.
fn reopen(plan: &Plan) -> Option<(Prepared, Option<Shared>)> {
    let mut pause = FIRST_PAUSE;
    loop {
        plan.wake.sleep(pause);
        if plan.wake.stopped() {
            return None;
        }
        announce_registration(plan);
        if plan.wake.stopped() {
            return None;
        }
        match prepared::best(plan) {
            Ok(prepared) => return Some(prepared),
            Err(error) => {
                warn!(queue = plan.name, %error, "queue is still failed");
                plan.stats.turned(QueueState::Failed, &error.to_string());
            }
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Announces the registration, so the interface is prepared again: a driver that was loaded again has forgotten its settings. A
/// driver may need seconds for that, so a helper thread waits for it, and this thread keeps answering until it must stop.
fn announce_registration(plan: &Plan) {
    const POLL: Duration = Duration::from_millis(20);
    if !(plan.config.prepare && plan.exchange.is_heard()) {
        return;
    }
    let exchange = Arc::clone(&plan.exchange);
    let config = with_current_name(&plan.config, plan.stats.ifindex());
    let helper = std::thread::Builder::new()
        .name("zcrx-prepare".to_owned())
        .spawn(move || exchange.before_registration(&config));
    match helper {
        Ok(helper) => {
            while !helper.is_finished() && !plan.wake.stopped() {
                plan.wake.sleep(POLL);
            }
        }
        Err(error) => warn!(
            queue = plan.name,
            %error,
            "cannot start a thread that prepares the interface: raise the limit of processes (`ulimit -u`)"
        ),
    }
}

/// Logs the queue's backend, and why a better one does not work.
fn announce(plan: &Plan, selection: &Selection) {
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
