//! A model of a zcrx queue, for tests: what the kernel and an owner do with buffers, counted, not simulated in time
//! finer than a millisecond. It is no evidence about kernels; it makes windows that obey the conservation law, on which
//! rules can be tried. Recordings of real queues are tested beside it. Its ledger, not the rules, says what is true.

mod ledger;
mod life;
mod seen;
mod sink;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{History, diagnose};
use crate::model::{AllocationCount, Cause, CopyCount, Diagnosis, Finding, QueueSample, RunState};

pub use ledger::Ledger;
pub use sink::Sink;

/// What the owner does with a buffer for which the refill ring has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Stash,
    Drop,
}

/// The queue: what it is, what its owner does, what happens to it, and where its buffers are.
#[derive(Clone, Debug)]
pub struct Queue {
    // What it is.
    pub buffers: u64,
    pub ring: u64,
    pub refill_entries: u64,
    pub cq_entries: u64,
    pub device: bool,
    /// Sum of the sockets' receive buffers, in buffers: senders wait beyond that.
    pub socket_limit: u64,
    // Load.
    pub arrivals_per_second: f64,
    /// Packets come in bunches of so many.
    pub bursts: Option<u64>,
    /// Share of the payload that the NIC does not place in the area.
    pub copied: f64,
    /// Completions (and references) per buffer.
    pub fragments: u64,
    // What the owner does.
    pub owner_runs: bool,
    pub armed: bool,
    pub rearms: bool,
    pub returns_per_second: f64,
    pub return_batch: u64,
    /// Completions that it reads a second; 0 is all that there are.
    pub reads_per_second: f64,
    pub overflow: Overflow,
    /// Share of the buffers that it never returns.
    pub leak: f64,
    /// Share of its entries that the kernel cannot use.
    pub bad_entries: f64,
    /// Share of its entries that come twice.
    pub double_entries: f64,
    /// Share of the returned buffers whose packet is still in use when their entry is consumed: they come back with it.
    pub late: f64,
    /// Fragments of a buffer are returned as far apart as can be.
    pub pinning: bool,
    /// The owner holds each buffer for so many milliseconds, whatever its rate.
    pub hold_ms: u64,
    /// It comes to its ring once in so many milliseconds; 0 is whenever there is something to do.
    pub visits_every_ms: u64,
    /// It loses so many buffers at once, every so many milliseconds: on close, on an error.
    pub leaks_at_once: (u64, u64),
    /// What its thread does, where that is not what `owner_runs` says.
    pub run_state: Option<RunState>,
    /// Share of the time for which `cpu.max` holds its thread back, 0 to 1.
    pub throttled: f64,
    /// Share of the time for which its thread is ready and has no CPU, 0 to 1.
    pub no_cpu: f64,
    /// Share of the arrivals on connections on which no receive is armed.
    pub unarmed: f64,
    /// Payload of a packet, bytes.
    pub packet_bytes: u64,
    /// Completions of other kinds on the ring, a second.
    pub other_completions: f64,
    /// Number of the newest of these that are unread in each sample.
    pub other_unread: u64,
    /// Without a device: it flushes the refill ring once in so many milliseconds; 0 is never.
    pub flushes_every_ms: u64,
    /// Holds so many buffers on purpose.
    pub keeps: u64,
    /// It is zcrxd, with this sink.
    pub sink: Option<Sink>,
    /// Another program imports the queue too, and has nothing unread.
    pub shared: bool,
    // What happens.
    pub napi_restarts: bool,
    /// Its driver leaves a buffer posted until it has another one, and drops the packet otherwise.
    pub keeps_posted: bool,
    /// Buffers that the driver posts at a time, a divisor of the ring.
    pub step: u64,
    pub missteered_per_second: f64,
    pub torn_down: bool,
    pub interface_down: bool,
    // What is known.
    pub tells_allocation: bool,
    pub tells_owner: bool,
    pub tells_armed: bool,
    pub tells_sockets: bool,
    pub tells_ring: bool,
    pub tells_drops: bool,
    /// Whether copies are counted (Linux 6.18).
    pub tells_copies: bool,
    /// By how many buffers figures of one sample disagree, because the queue moved while it was read.
    pub moved: u64,
    pub cadence: Duration,
    pub state: State,
}

/// Where the buffers are, and what was counted.
#[derive(Clone, Debug, Default)]
pub struct State {
    milliseconds: u64,
    started: bool,
    free: u64,
    cache: u64,
    posted: u64,
    sockets: u64,
    /// Buffers whose entry was consumed while their packet was still in use.
    with_packet: u64,
    /// Payload that must be copied, in buffers.
    to_copy: u64,
    /// Buffers that user space has a reference to; of these, by copying.
    user: u64,
    by_copy: u64,
    completed: u64,
    held: u64,
    /// Of these, with the time until which they are held.
    holding: VecDeque<(u64, u64)>,
    /// Of these, held for long enough.
    ripe: u64,
    lost: u64,
    ledger: Ledger,
    unread_unarmed: u64,
    interface_down_at: Option<u64>,
    entered_at: u64,
    /// Milliseconds for which the owner's thread was throttled, and for which it waited for a CPU.
    throttled: f64,
    no_cpu: f64,
    stashed: u64,
    /// Buffers whose payload zcrxd copied, because its sink did not take it.
    copied_out: u64,
    pending: u64,
    pending_bad: u64,
    napi_dead: bool,
    /// Fractions of packets, returns and the like that were not whole yet.
    rest: [f64; 12],
    /// References consumed of buffers that are still pinned.
    unpinned: u64,
    allocation: AllocationCount,
    tail: u32,
    cached_head: u32,
    cq_head: u32,
    cq_tail: u32,
    others: u64,
    /// Completions of other kinds that the owner's next system call makes.
    others_due: u64,
    pool: u32,
    /// Extremes since the last sample: the least that could be allocated, the most that was pending, the longest starvation.
    marks: (Option<u64>, u64, Duration),
    bytes: u64,
    drops: u64,
    polls: u64,
    copies: CopyCount,
    errors: BTreeMap<i32, u64>,
    torn_down_at: Option<u64>,
}

const BUFFER_BYTES: u64 = 4096;
/// Refill entries that one provider call looks at.
const CALL: u64 = 64;

impl Default for Queue {
    fn default() -> Self {
        Self {
            buffers: 4096,
            ring: 512,
            refill_entries: 4096,
            cq_entries: 8192,
            device: true,
            socket_limit: 1024,
            arrivals_per_second: 20_000.0,
            bursts: None,
            copied: 0.0,
            fragments: 1,
            owner_runs: true,
            armed: true,
            rearms: true,
            returns_per_second: 10_000_000.0,
            return_batch: 1,
            reads_per_second: 0.0,
            overflow: Overflow::Stash,
            leak: 0.0,
            bad_entries: 0.0,
            double_entries: 0.0,
            late: 0.0,
            pinning: false,
            hold_ms: 0,
            visits_every_ms: 0,
            leaks_at_once: (0, 0),
            run_state: None,
            throttled: 0.0,
            no_cpu: 0.0,
            unarmed: 0.0,
            packet_bytes: BUFFER_BYTES,
            other_completions: 0.0,
            other_unread: 0,
            flushes_every_ms: 0,
            keeps: 0,
            sink: None,
            shared: false,
            napi_restarts: true,
            keeps_posted: false,
            step: 1,
            missteered_per_second: 0.0,
            torn_down: false,
            interface_down: false,
            tells_allocation: true,
            tells_owner: true,
            tells_armed: true,
            tells_sockets: true,
            tells_ring: true,
            tells_drops: true,
            tells_copies: true,
            moved: 0,
            cadence: Duration::from_millis(500),
            state: State {
                // Close to the wrap, so that every test crosses it.
                tail: u32::MAX - 1000,
                cached_head: u32::MAX - 1000,
                cq_head: u32::MAX - 1000,
                cq_tail: u32::MAX - 1000,
                ..State::default()
            },
        }
    }
}

/// The diagnosis of a history.
pub fn verdict(history: &History) -> Diagnosis {
    diagnose(history)
}

/// The first finding, which must be this one.
pub fn first(diagnosis: &Diagnosis, cause: Cause) -> &Finding {
    let finding = diagnosis.cause().unwrap_or_else(|| panic!("no cause in {diagnosis:#?}"));
    assert_eq!(finding.cause, cause, "{diagnosis:#?}");
    finding
}

impl Queue {
    /// Lets it run for so many seconds and gives the samples of that time.
    pub fn run(&mut self, seconds: u64) -> History {
        let mut history = History::new(120);
        self.run_with(seconds, |sample| history.push(sample));
        history
    }

    /// The same, sample by sample.
    pub fn run_with(&mut self, seconds: u64, mut sampled: impl FnMut(QueueSample)) {
        let cadence = self.cadence.as_millis() as u64;
        self.start(&mut sampled);
        for _ in 0..seconds * 1000 {
            self.advance();
            if self.state.milliseconds.is_multiple_of(cadence) {
                sampled(self.sample());
            }
        }
    }

    /// Fills the receive ring, and takes the first sample, if that was not done yet.
    pub fn start(&mut self, mut sampled: impl FnMut(QueueSample)) {
        if !self.state.started {
            self.state.started = true;
            self.state.free = self.buffers;
            self.refill();
            sampled(self.sample());
        }
    }

    /// The driver restarts the hardware queue: a new page pool, and what was posted is free again.
    pub fn reset(&mut self) {
        let state = &mut self.state;
        state.free += state.posted + state.cache;
        (state.posted, state.cache) = (0, 0);
        state.pool += 1;
        self.refill();
    }

    /// Kills one of several consumers, which holds `buffers` buffers: they are never returned.
    pub fn lose_held(&mut self, buffers: u64) {
        let lost = buffers.min(self.state.held);
        self.state.held -= lost;
        self.state.lost += lost;
        self.state.ledger.leaked += lost;
    }

    /// Lets a millisecond pass.
    pub fn advance(&mut self) {
        self.state.milliseconds += 1;
        self.millisecond();
    }

    /// What was written down, for tests to judge a verdict by.
    pub fn ledger(&self) -> Ledger {
        self.state.ledger
    }

    /// The time of the model, as a sample has it.
    pub fn now(&self) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(self.state.milliseconds)
    }
}

#[cfg(test)]
#[test]
fn the_model_loses_no_buffer() {
    let faults = [
        Queue::default(),
        Queue { returns_per_second: 2_000.0, ..Queue::default() },
        Queue { leak: 0.1, bursts: Some(300), ..Queue::default() },
        Queue { copied: 0.3, buffers: 800, ..Queue::default() },
        Queue { fragments: 8, ..Queue::default() },
        Queue { fragments: 8, pinning: true, ..Queue::default() },
        Queue { bad_entries: 0.1, double_entries: 0.1, ..Queue::default() },
        Queue { hold_ms: 50, visits_every_ms: 40, unarmed: 0.1, ..Queue::default() },
        Queue { reads_per_second: 5_000.0, cq_entries: 64, ..Queue::default() },
        Queue { late: 0.2, leak: 0.01, ..Queue::default() },
        Queue { leaks_at_once: (500, 20), keeps: 300, packet_bytes: 66, ..Queue::default() },
    ];
    for mut queue in faults {
        for _ in 0..5 {
            queue.run(1);
            let state = &queue.state;
            let in_pool = state.cache + state.posted + state.sockets + state.with_packet;
            let accounted = state.free + in_pool + state.user;
            assert_eq!(accounted, queue.buffers, "{queue:#?}");
        }
    }
}
