//! Several threads, each with its own ring, on one queue (Linux 6.19).
//!
//! The first thread, the leader, registers the queue, accepts connections and distributes them; the other threads join the
//! queue as members. When the ring of any thread fails, the whole queue fails: all threads leave, the kernel takes the buffers
//! back with the queue, and the leader registers it again. So a leaving member loses no buffers.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::Socket;

use super::backend::Shared;
use super::inbox::ConnectionInbox;
use super::wake::Wake;

/// Longest wait of an idle thread before it checks its group again.
const POLL_PERIOD: Duration = Duration::from_secs(1);

/// All threads of one queue.
pub(super) struct WorkerGroup {
    state: Mutex<State>,
    /// The leader comes first.
    workers: Vec<WorkerHandle>,
    /// Counts dealt connections.
    dealt: AtomicUsize,
}

/// One thread, as the other threads see it.
struct WorkerHandle {
    wake: Arc<Wake>,
    inbox: Arc<ConnectionInbox>,
    /// Buffers that its sinks hold, as of its last report.
    holds: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Counts the queue's registrations.
    generation: u64,
    /// The queue that members join; `None` while there is none.
    shared: Option<Shared>,
    /// Members that have joined, or are about to, and have not left.
    inside: usize,
    /// Why a member's ring failed.
    failure: Option<String>,
}

/// One thread's place in its group.
#[derive(Clone)]
pub(super) struct WorkerSlot {
    pub(super) group: Arc<WorkerGroup>,
    pub(super) index: u32,
}

/// A queue that a member has joined.
pub(super) struct Joined {
    pub(super) shared: Shared,
    pub(super) generation: u64,
}

impl WorkerGroup {
    /// Creates a group of these threads, the leader first.
    pub(super) fn new(workers: Vec<(Arc<Wake>, Arc<ConnectionInbox>)>) -> Arc<Self> {
        let workers =
            workers.into_iter().map(|(wake, inbox)| WorkerHandle { wake, inbox, holds: AtomicU64::new(0) });
        Arc::new(Self { state: Mutex::default(), workers: workers.collect(), dealt: AtomicUsize::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each field is valid independently of the others.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called by the leader: members can now join the queue.
    pub(super) fn open(&self, shared: Shared) {
        let mut state = self.state();
        state.generation += 1;
        state.failure = None;
        state.shared = Some(shared);
        drop(state);
        self.notify_members();
    }

    /// Called by the leader: makes all members leave, and waits for that. The leader's ring may be gone before or after.
    pub(super) fn close(&self) {
        self.state().shared = None;
        self.notify_members();
        while self.state().inside > 0 {
            self.workers[0].wake.wait(POLL_PERIOD);
        }
        self.state().failure = None;
    }

    fn notify_members(&self) {
        for member in self.workers.iter().skip(1) {
            member.wake.notify();
        }
    }
}

impl WorkerSlot {
    /// Whether this is the thread that registers the queue.
    pub(super) const fn leads(&self) -> bool {
        self.index == 0
    }

    fn handle(&self) -> &WorkerHandle {
        &self.group.workers[self.index as usize]
    }

    /// Called by a member: waits for a queue of a later generation than `last`. Returns `None` when the thread must stop.
    pub(super) fn join(&self, last: u64) -> Option<Joined> {
        loop {
            if self.handle().wake.stopped() {
                return None;
            }
            let mut state = self.group.state();
            if let Some(shared) = state.shared.clone().filter(|_| state.generation > last) {
                state.inside += 1;
                return Some(Joined { shared, generation: state.generation });
            }
            drop(state);
            self.handle().wake.wait(POLL_PERIOD);
        }
    }

    /// Called by a member whose ring is gone. A `failure` ends the queue for all threads.
    pub(super) fn leave(&self, failure: Option<String>) {
        let mut state = self.group.state();
        state.inside -= 1;
        if let Some(failure) = failure {
            state.shared = None;
            state.failure.get_or_insert(failure);
        }
        drop(state);
        self.group.workers[0].wake.notify();
    }

    /// Whether the queue of that generation still receives; with the reason if a ring failed.
    pub(super) fn goes_on(&self, generation: Option<u64>) -> Result<bool, String> {
        let state = self.group.state();
        match (generation, &state.failure) {
            (Some(generation), _) => Ok(state.shared.is_some() && state.generation == generation),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(true),
        }
    }

    /// Called by the leader: assigns a connection to the next thread; returns the connection if that is the leader.
    pub(super) fn deal(&self, socket: Socket) -> Option<Socket> {
        let workers = &self.group.workers;
        let mut socket = socket;
        for _ in 0..workers.len() {
            let next = self.group.dealt.fetch_add(1, Ordering::Relaxed) % workers.len();
            if next == 0 {
                break;
            }
            match workers[next].inbox.offer(socket) {
                Ok(()) => return None,
                Err(back) => socket = back,
            }
        }
        Some(socket)
    }

    /// Called by a member that stops receiving: hands the connections that it has not taken back to the leader.
    pub(super) fn hand_back(&self) {
        for socket in self.handle().inbox.shut() {
            // The leader ends after its members have left, so its inbox takes the connection.
            self.group.workers[0].inbox.hand(socket).ok();
        }
    }

    /// Reports the buffers that this thread's sinks hold.
    pub(super) fn holds(&self, buffers: u64) {
        self.handle().holds.store(buffers, Ordering::Relaxed);
    }

    /// Buffers that the sinks of all threads held at their last reports.
    pub(super) fn held_by_all(&self) -> u64 {
        self.group.workers.iter().map(|worker| worker.holds.load(Ordering::Relaxed)).sum()
    }

    /// Called by a thread that panics: ends the queue for all threads.
    pub(super) fn abandon(&self, why: &str) {
        let mut state = self.group.state();
        if !self.leads() {
            state.inside = state.inside.saturating_sub(1);
        }
        state.shared = None;
        state.failure.get_or_insert_with(|| why.to_owned());
        drop(state);
        for worker in &self.group.workers {
            worker.wake.notify();
        }
    }
}
