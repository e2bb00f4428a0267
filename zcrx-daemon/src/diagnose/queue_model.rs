//! A model of a zcrx queue, for tests: what the kernel and an owner do with buffers, counted, not simulated in time
//! finer than a millisecond. It is no evidence about kernels; it makes windows that obey the conservation law, on which
//! rules can be tried. Recordings of real queues are tested beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnose;
use crate::model::{
    AllocationCount, AreaState, Cause, CopyCount, CqState, Diagnosis, Finding, KernelQueue, NicFigures,
    Owner, PoolState, QueueKey, QueueSample, RefillState, SocketBacklog, Window,
};

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

    /// Whole things out of a rate, keeping the rest for the next time.
    fn whole(&mut self, slot: usize, amount: f64) -> u64 {
        let sum = self.state.rest[slot] + amount;
        self.state.rest[slot] = sum.fract();
        sum as u64
    }

    fn millisecond(&mut self) {
        if self.torn_down {
            self.state.torn_down_at.get_or_insert(self.state.milliseconds);
            return;
        }
        self.arrive();
        self.receive();
        self.give_back();
        let missteered = self.whole(0, self.missteered_per_second / 1000.0);
        *self.state.errors.entry(libc::EFAULT).or_default() += missteered;
    }

    fn arrive(&mut self) {
        let mut arriving = self.arrivals_per_second / 1000.0;
        if let Some(bunch) = self.bursts {
            // All the packets of a while at once.
            self.state.rest[1] += arriving;
            arriving = 0.0;
            if self.state.rest[1] >= bunch as f64 {
                self.state.rest[1] -= bunch as f64;
                arriving = bunch as f64;
            }
        }
        let arriving = self.whole(2, arriving);
        let room = self.socket_limit.saturating_sub(self.state.sockets + self.state.to_copy);
        let arriving = arriving.min(room);
        let copied = self.whole(3, arriving as f64 * self.copied).min(arriving);
        self.state.to_copy += copied;
        if !self.device {
            return;
        }
        let mut placed = arriving - copied;
        let interrupted = placed > 0 && self.state.posted > 0;
        while placed > 0 && self.state.posted > 0 {
            let batch = placed.min(self.state.posted).min(CALL);
            self.state.posted -= batch;
            self.state.sockets += batch;
            placed -= batch;
            self.poll();
        }
        self.state.drops += placed;
        if !interrupted && self.state.posted < self.ring && self.state.allocation.starving_since.is_some() {
            self.poll();
        }
    }

    fn poll(&mut self) {
        if !self.state.napi_dead {
            self.state.polls += 1;
            self.refill();
        }
    }

    /// NAPI tops up the receive ring.
    fn refill(&mut self) {
        while self.device && self.state.posted < self.ring {
            if self.state.cache == 0 && !self.allocate() {
                // A driver that does not come back by itself only ever does so once its ring has run dry.
                self.state.napi_dead = !self.napi_restarts && self.state.posted == 0;
                return;
            }
            let moved = self.state.cache.min(self.ring - self.state.posted);
            self.state.cache -= moved;
            self.state.posted += moved;
        }
    }

    /// The provider's allocation function.
    fn allocate(&mut self) -> bool {
        let waiting = self.state.pending + self.state.pending_bad;
        let consumed = waiting.min(CALL);
        // Bad entries lie evenly among the good ones.
        let bad = (consumed * self.state.pending_bad)
            .checked_div(waiting)
            .unwrap_or(0)
            .max(consumed.saturating_sub(self.state.pending));
        self.state.pending_bad -= bad;
        self.state.pending -= consumed - bad;
        self.state.cached_head = self.state.cached_head.wrapping_add(consumed as u32);
        let whole = self.released(consumed - bad);
        let to_freelist =
            (whole * self.state.by_copy).checked_div(self.state.user).unwrap_or(0).min(self.state.by_copy);
        self.state.user -= whole;
        self.state.by_copy -= to_freelist;
        self.state.free += to_freelist;
        let mut yielded = whole - to_freelist;
        let mut from_freelist = 0;
        if yielded == 0 {
            from_freelist = self.state.free.min(CALL);
            self.state.free -= from_freelist;
            yielded = from_freelist;
        }
        self.state.cache += yielded;
        let now = self.now();
        let count = &mut self.state.allocation;
        count.calls += 1;
        count.consumed += consumed;
        count.buffers += yielded;
        count.from_freelist += from_freelist;
        if yielded > 0 {
            count.last_success = Some(now);
            count.starving_since = None;
        } else {
            count.failures += 1;
            count.starving_since.get_or_insert(now);
        }
        yielded > 0
    }

    /// How many buffers come free when so many references are dropped.
    fn released(&mut self, references: u64) -> u64 {
        if self.fragments == 1 {
            return references;
        }
        self.state.unpinned += references;
        // Far apart, all but the last reference of every buffer that is out go before the first buffer comes free.
        let whole = if self.pinning {
            let pinned = self.state.user * (self.fragments - 1);
            references.min(self.state.unpinned.saturating_sub(pinned))
        } else {
            self.state.unpinned / self.fragments
        };
        self.state.unpinned -= whole * self.fragments;
        whole
    }

    /// The owner's receives make completions of what is in the sockets.
    fn receive(&mut self) {
        if !self.armed || !self.owner_runs && self.state.completed > 0 {
            return;
        }
        let room = (self.cq_entries - self.state.completed) / self.fragments;
        let moved = self.state.sockets.min(room);
        if moved < self.state.sockets {
            *self.state.errors.entry(libc::ENOSPC).or_default() += 1;
            self.armed = self.rearms;
        }
        self.state.sockets -= moved;
        let copies = self.state.to_copy.min(self.state.free);
        if copies < self.state.to_copy {
            *self.state.errors.entry(libc::ENOMEM).or_default() += 1;
        }
        self.state.to_copy -= copies;
        self.state.free -= copies;
        self.state.by_copy += copies;
        self.state.copies.calls += copies;
        self.state.copies.bytes += copies * BUFFER_BYTES;
        self.state.user += moved + copies;
        let completions = moved * self.fragments + copies;
        self.state.completed += completions;
        self.state.cq_tail = self.state.cq_tail.wrapping_add(completions as u32);
        self.state.bytes += (moved + copies) * BUFFER_BYTES;
        if !self.owner_runs {
            // It made these completions in its last system call, and did not live to read them.
            return;
        }
        self.state.cq_head = self.state.cq_tail;
        self.state.held += self.state.completed;
        self.state.completed = 0;
    }

    /// The owner returns what it is done with.
    fn give_back(&mut self) {
        if !self.owner_runs {
            return;
        }
        let able = self.whole(4, (self.returns_per_second / 1000.0).min(1e9));
        let mut done = self.state.held.min(able);
        if self.return_batch > 1 {
            done = done / self.return_batch * self.return_batch;
        }
        self.state.held -= done;
        let lost = self.whole(5, done as f64 * self.leak).min(done);
        self.state.lost += lost;
        let returning = done - lost + std::mem::take(&mut self.state.stashed);
        let room = self.refill_entries - self.state.pending - self.state.pending_bad;
        let published = returning.min(room);
        match self.overflow {
            Overflow::Stash => self.state.stashed = returning - published,
            Overflow::Drop => self.state.lost += returning - published,
        }
        let bad = self.whole(6, published as f64 * self.bad_entries).min(published);
        let double = self.whole(7, published as f64 * self.double_entries).min(room - published);
        self.state.lost += bad;
        self.state.pending += published - bad;
        self.state.pending_bad += bad + double;
        self.state.tail = self.state.tail.wrapping_add((published + double) as u32);
    }

    fn sample(&self) -> QueueSample {
        let state = &self.state;
        let interface = self.device.then(|| "eth0".to_owned());
        let key = QueueKey { interface: interface.clone(), queue: 3 };
        let mut sample = QueueSample::unknown(key, 1, self.now());
        if let Some(at) = state.torn_down_at {
            sample.nic.pool_detached_for = Some(Duration::from_millis(state.milliseconds - at));
            sample.nic.pool_inflight = Some(state.posted + state.sockets);
            return sample;
        }
        let references = state.completed + state.held + state.lost + state.stashed + state.pending;
        let in_pool = state.cache + state.posted + state.sockets + state.user - state.by_copy;
        sample.owner = Some(Owner { pid: 4242, comm: "model".to_owned(), fd: Some(7), cgroup: None });
        sample.buffer_bytes = Some(BUFFER_BYTES);
        sample.napi_polls = Some(state.polls);
        sample.received_bytes = Some(state.bytes);
        sample.copies = Some(state.copies);
        sample.errors = Some(state.errors.clone());
        sample.nic = NicFigures {
            rx_bytes: None,
            alloc_fail: Some(state.allocation.failures),
            hw_drops: self.tells_drops.then_some(state.drops),
            ring: self.tells_ring.then_some(self.ring as u32),
            pool_inflight: Some(in_pool),
            pool_detached_for: None,
        };
        sample.kernel = Some(KernelQueue {
            ifq: 0xffff_8880_0000_1000,
            zcrx_id: Some(0),
            ifindex: self.device.then_some(2),
            interface,
            queue: self.device.then_some(3),
            refill: Some(RefillState {
                entries: self.refill_entries as u32,
                cached_head: state.cached_head,
                tail: state.tail,
            }),
            areas: vec![AreaState {
                buffers: self.buffers as u32,
                free: state.free as u32,
                user_buffers: Some(state.user as u32),
                user_references: Some(references.max(state.user)),
            }],
            pool: self.device.then_some(PoolState {
                id: 17,
                cache: Some(state.cache as u32),
                held: (in_pool as u32).wrapping_sub(500),
                released: 0u32.wrapping_sub(500),
            }),
            cq: Some(CqState {
                entries: self.cq_entries as u32,
                head: state.cq_head,
                tail: state.cq_tail,
                overflow: 0,
            }),
            sockets: self.tells_sockets.then_some(SocketBacklog {
                sockets: 4,
                unread_bytes: state.sockets * BUFFER_BYTES,
                limit_bytes: self.socket_limit * BUFFER_BYTES,
            }),
            allocation: self.device.then_some(state.allocation),
            ..KernelQueue::default()
        });
        sample
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
