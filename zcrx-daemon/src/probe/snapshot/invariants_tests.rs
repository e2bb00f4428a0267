//! Queues that there can be break no rule, and queues that there cannot be do.

use std::sync::Arc;

use super::super::assemble::Known;
use super::*;
use crate::model::{CqState, Doubts, KernelSnapshot, PoolState, QueueRing, RefillState, TaskState};
use crate::probe::offsets::Resolved;

/// A generator of numbers: xorshift64*, which needs no crate.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        ((high * u64::from(limit.max(1))) >> 32) as u32
    }
}

/// A queue that there can be: its buffers are divided among freelist, page pool, user space and copies for user space.
fn possible(random: &mut Random) -> KernelQueue {
    let scale = random.below(20);
    let buffers = 1 + random.below(1 << scale);
    let free = random.below(buffers + 1);
    let inflight = random.below(buffers - free + 1);
    let user = random.below(buffers - free + 1);
    let cache = random.below(inflight.min(128) + 1);
    let released = random.below(u32::MAX);
    let entries = 1 << random.below(16);
    let cached_head = random.below(u32::MAX);
    let cq = CqState { entries: 1 << random.below(17), ..CqState::default() };
    let task =
        TaskState { tid: 1 + random.below(MOST_TID), run: Some(RunState::Running), ..TaskState::default() };
    KernelQueue {
        ifindex: Some(1 + random.below(1000)),
        queue: Some(random.below(1024)),
        netns: Some(0xf000_0000 + u64::from(random.below(1 << 20))),
        refill: Some(RefillState {
            entries,
            cached_head,
            tail: cached_head.wrapping_add(random.below(entries)),
        }),
        areas: vec![AreaState {
            buffers,
            free,
            user_buffers: Some(user),
            user_references: Some(u64::from(user) + u64::from(random.below(3))),
            user_buffers_error: Some(0),
            dmabuf: Some(false),
        }],
        pool: Some(PoolState {
            id: 1,
            cache: Some(cache),
            ring: Some(random.below(inflight - cache + 1)),
            held: released.wrapping_add(inflight),
            released,
        }),
        cq: Some(cq),
        buffer_bytes: Some(4096 << random.below(10)),
        moved: Some(random.below(100)),
        rings: vec![QueueRing { consumer: Some(task), cq: Some(cq), ..QueueRing::default() }],
        ..KernelQueue::default()
    }
}

/// Makes a figure impossible.
type Spoil = fn(&mut KernelQueue);

/// Every figure that a rule is about, with a way to make it impossible.
const IMPOSSIBLE: [(&str, Spoil); 12] = [
    ("areas.buffers", |queue| queue.areas[0].buffers = 0),
    ("areas.free", |queue| queue.areas[0].free = queue.areas[0].buffers + 1),
    ("areas.user_buffers", |queue| {
        queue.areas[0].user_buffers = Some(queue.areas[0].buffers + 1);
        queue.areas[0].user_references = Some(u64::MAX);
    }),
    ("areas.user_references", |queue| {
        queue.areas[0].free = 0;
        queue.areas[0].user_buffers = Some(1);
        queue.areas[0].user_references = Some(0);
    }),
    ("refill.entries", |queue| {
        queue.refill = Some(RefillState { entries: 4_097, cached_head: 0, tail: 0 });
    }),
    ("buffer_bytes", |queue| queue.buffer_bytes = Some(2048)),
    ("pool.inflight", |queue| {
        let buffers = queue.areas[0].buffers;
        queue.pool =
            Some(PoolState { id: 1, cache: None, ring: None, held: buffers * 2 + 2000, released: 0 });
    }),
    ("place", |queue| queue.ifindex = Some(0xffff_8881)),
    ("place", |queue| (queue.ifindex, queue.interface) = (None, None)),
    ("netns", |queue| queue.netns = Some(0x9c13_2260)),
    ("place", |queue| queue.queue = Some(0x8881_0000)),
    ("cq.entries", |queue| {
        queue.rings[0].cq = Some(CqState { entries: 0, ..CqState::default() });
    }),
];

#[test]
fn possible_queues_break_no_rule() {
    for seed in 1..=3 {
        let mut random = Random(seed);
        for number in 0..20_000 {
            let queue = possible(&mut random);
            assert_eq!(broken_rules(&queue), [], "seed {seed}, queue {number}: {queue:?}");
        }
    }
}

#[test]
fn impossible_figure_is_named_and_can_be_switched_off_or_spoils_the_queue() {
    const SPOILING: [&str; 3] = ["areas.buffers", "areas.free", "place"];
    let mut random = Random(4);
    for (name, spoil) in IMPOSSIBLE {
        for _ in 0..1000 {
            let mut queue = possible(&mut random);
            spoil(&mut queue);
            let broken = broken_rules(&queue);
            assert!(broken.iter().any(|rule| rule.figure == name), "{name}: {queue:?}");
            let mut taken = KernelSnapshot { queues: vec![Arc::new(queue)], ..KernelSnapshot::default() };
            Doubts::immediate().apply(&mut taken, broken_rules);
            assert_eq!(taken.queues.is_empty(), broken.iter().any(|rule| SPOILING.contains(&rule.figure)));
            assert!(taken.queues.iter().all(|queue| broken_rules(queue).is_empty()), "{name} is still shown");
        }
        let mut known = Known::of(&Resolved::all());
        assert_eq!(
            known.forget(name),
            !name.starts_with("areas.") || name.starts_with("areas.user"),
            "{name}"
        );
    }
}

#[test]
fn what_the_owner_writes_switches_nothing_off() {
    let mut queue = possible(&mut Random(6));
    queue.refill = queue.refill.map(|refill| RefillState { tail: refill.tail.wrapping_sub(77), ..refill });
    let cq = CqState { entries: 64, head: 1 << 30, tail: 7, overflow: u32::MAX, ..CqState::default() };
    queue.rings[0].cq = Some(cq);
    assert_eq!(broken_rules(&queue), []);
}
