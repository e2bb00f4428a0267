//! A model of a zcrx queue, for tests: what the kernel and an owner do with buffers, counted, not simulated in time
//! finer than a millisecond. It is no evidence about kernels; it makes windows that obey the conservation law, on which
//! rules can be tried. Recordings of real queues are tested beside it.

mod life;
mod seen;

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnose;
use crate::model::{AllocationCount, Cause, CopyCount, Diagnosis, Finding, QueueSample, Window};

/// What the owner does with a buffer for which the refill ring has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Stash,
    Drop,
}

/// The queue: what it is, what its owner does, what happens to it, and where its buffers are.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    // What it is.
    pub(crate) buffers: u64,
    pub(crate) ring: u64,
    pub(crate) refill_entries: u64,
    pub(crate) cq_entries: u64,
    pub(crate) device: bool,
    /// Sum of the sockets' receive buffers, in buffers: senders wait beyond that.
    pub(crate) socket_limit: u64,
    // Load.
    pub(crate) arrivals_per_second: f64,
    /// Packets come in bunches of so many.
    pub(crate) bursts: Option<u64>,
    /// Share of the payload that the NIC does not place in the area.
    pub(crate) copied: f64,
    /// Completions (and references) per buffer.
    pub(crate) fragments: u64,
    // What the owner does.
    pub(crate) owner_runs: bool,
    pub(crate) armed: bool,
    pub(crate) rearms: bool,
    pub(crate) returns_per_second: f64,
    pub(crate) return_batch: u64,
    pub(crate) overflow: Overflow,
    /// Share of the buffers that it never returns.
    pub(crate) leak: f64,
    /// Share of its entries that the kernel cannot use.
    pub(crate) bad_entries: f64,
    /// Share of its entries that come twice.
    pub(crate) double_entries: f64,
    /// Fragments of a buffer are returned as far apart as can be.
    pub(crate) pinning: bool,
    // What happens.
    pub(crate) napi_restarts: bool,
    pub(crate) missteered_per_second: f64,
    pub(crate) torn_down: bool,
    // What is known.
    pub(crate) tells_sockets: bool,
    pub(crate) tells_ring: bool,
    pub(crate) tells_drops: bool,
    pub(crate) cadence: Duration,
    pub(crate) state: State,
}

/// Where the buffers are, and what was counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    milliseconds: u64,
    started: bool,
    free: u64,
    cache: u64,
    posted: u64,
    sockets: u64,
    /// Payload that must be copied, in buffers.
    to_copy: u64,
    /// Buffers that user space has a reference to; of these, by copying.
    user: u64,
    by_copy: u64,
    completed: u64,
    held: u64,
    lost: u64,
    stashed: u64,
    pending: u64,
    pending_bad: u64,
    napi_dead: bool,
    /// Fractions of packets, returns and the like that were not whole yet.
    rest: [f64; 8],
    /// References consumed of buffers that are still pinned.
    unpinned: u64,
    allocation: AllocationCount,
    tail: u32,
    cached_head: u32,
    cq_head: u32,
    cq_tail: u32,
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
            overflow: Overflow::Stash,
            leak: 0.0,
            bad_entries: 0.0,
            double_entries: 0.0,
            pinning: false,
            napi_restarts: true,
            missteered_per_second: 0.0,
            torn_down: false,
            tells_sockets: true,
            tells_ring: true,
            tells_drops: true,
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

/// The diagnosis of a window.
pub(crate) fn verdict(window: &Window) -> Diagnosis {
    diagnose(window)
}

/// The first finding, which must be this one.
pub(crate) fn first(diagnosis: &Diagnosis, cause: Cause) -> &Finding {
    let finding = diagnosis.cause().unwrap_or_else(|| panic!("no cause in {diagnosis:#?}"));
    assert_eq!(finding.cause, cause, "{diagnosis:#?}");
    finding
}

impl Queue {
    /// Lets it run for so many seconds and gives the samples of that time.
    pub(crate) fn run(&mut self, seconds: u64) -> Window {
        let mut window = Window::new(120);
        self.run_with(seconds, |sample| window.push(sample));
        window
    }

    /// The same, sample by sample.
    pub(crate) fn run_with(&mut self, seconds: u64, mut sampled: impl FnMut(QueueSample)) {
        let cadence = self.cadence.as_millis() as u64;
        if !self.state.started {
            self.state.started = true;
            self.state.free = self.buffers;
            self.refill();
            sampled(self.sample());
        }
        for _ in 0..seconds * 1000 {
            self.state.milliseconds += 1;
            self.millisecond();
            if self.state.milliseconds.is_multiple_of(cadence) {
                sampled(self.sample());
            }
        }
    }

    fn now(&self) -> Duration {
        Duration::from_secs(1_000) + Duration::from_millis(self.state.milliseconds)
    }
}

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
    ];
    for mut queue in faults {
        for _ in 0..5 {
            queue.run(1);
            let state = &queue.state;
            let accounted = state.free + state.cache + state.posted + state.sockets + state.user;
            assert_eq!(accounted, queue.buffers, "{queue:#?}");
        }
    }
}
