//! Several threads, each with a ring of its own, on one queue (Linux 6.19).
//!
//! The first thread, the leader, registers the queue, accepts connections and deals them out; the others join its queue as
//! members. The queue lives and fails as a whole: when a ring fails, whoever's it is, all leave, the kernel takes the
//! buffers back with the queue, and the leader registers it anew. So no member can take buffers with it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::Socket;

use super::backend::Shared;
use super::desk::Desk;
use super::wake::Wake;

/// How long a thread with nothing to do waits at most before it looks again by itself.
const DOZE: Duration = Duration::from_secs(1);

/// All threads of one queue.
pub(super) struct Crew {
    state: Mutex<State>,
    /// The leader comes first.
    hands: Vec<Hand>,
    /// Who was dealt the last connection.
    dealt: AtomicUsize,
}

/// One thread, from the side of the others.
struct Hand {
    wake: Arc<Wake>,
    desk: Arc<Desk>,
    /// Buffers that it holds, as of its last batch.
    holds: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Counts the queue's registrations.
    generation: u64,
    /// What members join; `None` while there is no queue that they could.
    shared: Option<Shared>,
    /// Members that have joined, or are about to, and not left.
    inside: usize,
    /// Why a member's ring failed.
    failure: Option<String>,
}

/// One thread's place in its crew.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) crew: Arc<Crew>,
    pub(super) index: u32,
}

/// What a member has joined.
pub(super) struct Joined {
    pub(super) shared: Shared,
    pub(super) generation: u64,
}

impl Crew {
    /// A crew of these threads, the leader first.
    pub(super) fn new(hands: Vec<(Arc<Wake>, Arc<Desk>)>) -> Arc<Self> {
        let hands = hands.into_iter().map(|(wake, desk)| Hand { wake, desk, holds: AtomicU64::new(0) });
        Arc::new(Self { state: Mutex::default(), hands: hands.collect(), dealt: AtomicUsize::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Its fields are true one by one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By the leader: there is a queue to join.
    pub(super) fn open(&self, shared: Shared) {
        let mut state = self.state();
        state.generation += 1;
        state.failure = None;
        state.shared = Some(shared);
        drop(state);
        self.knock_members();
    }

    /// By the leader: makes members leave, and waits until they have. Its own ring may be gone before or after.
    pub(super) fn close(&self) {
        self.state().shared = None;
        self.knock_members();
        while self.state().inside > 0 {
            self.hands[0].wake.doze(DOZE);
        }
        self.state().failure = None;
    }

    fn knock_members(&self) {
        for hand in self.hands.iter().skip(1) {
            hand.wake.knock();
        }
    }
}

impl Seat {
    /// Whether this is the thread that registers the queue.
    pub(super) const fn leads(&self) -> bool {
        self.index == 0
    }

    fn hand(&self) -> &Hand {
        &self.crew.hands[self.index as usize]
    }

    /// By a member: waits for a queue that it has not joined yet, `last` being the one before. `None` when told to stop.
    pub(super) fn join(&self, last: u64) -> Option<Joined> {
        loop {
            if self.hand().wake.stopped() {
                return None;
            }
            let mut state = self.crew.state();
            if let Some(shared) = state.shared.clone().filter(|_| state.generation > last) {
                state.inside += 1;
                return Some(Joined { shared, generation: state.generation });
            }
            drop(state);
            self.hand().wake.doze(DOZE);
        }
    }

    /// By a member that has joined: its ring is gone. With the reason, if that ends the queue for all.
    pub(super) fn leave(&self, failure: Option<String>) {
        let mut state = self.crew.state();
        state.inside -= 1;
        if let Some(failure) = failure {
            state.shared = None;
            state.failure.get_or_insert(failure);
        }
        drop(state);
        self.crew.hands[0].wake.knock();
    }

    /// Whether the queue of that generation is still there to be received from; why not, if a ring failed.
    pub(super) fn goes_on(&self, generation: Option<u64>) -> Result<bool, String> {
        let state = self.crew.state();
        match (generation, &state.failure) {
            (Some(generation), _) => Ok(state.shared.is_some() && state.generation == generation),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(true),
        }
    }

    /// By the leader: deals a connection out, in turn; gives it back if it is the leader's own.
    pub(super) fn deal(&self, socket: Socket) -> Option<Socket> {
        let hands = &self.crew.hands;
        let mut socket = socket;
        for _ in 0..hands.len() {
            let next = self.crew.dealt.fetch_add(1, Ordering::Relaxed) % hands.len();
            if next == 0 {
                break;
            }
            match hands[next].desk.offer(socket) {
                Ok(()) => return None,
                Err(back) => socket = back,
            }
        }
        Some(socket)
    }

    /// By a member that stops receiving: what was dealt to it and not taken goes back to the leader.
    pub(super) fn hand_back(&self) {
        for socket in self.hand().desk.shut() {
            self.crew.hands[0].desk.hand(socket);
        }
    }

    /// Once per batch: what this thread holds.
    pub(super) fn holds(&self, buffers: u64) {
        self.hand().holds.store(buffers, Ordering::Relaxed);
    }

    /// Whether any thread held a buffer at its last batch.
    pub(super) fn anyone_holds(&self) -> bool {
        self.crew.hands.iter().any(|hand| hand.holds.load(Ordering::Relaxed) > 0)
    }
}
