//! Queues that there can be break no rule, queues that there cannot be do, and what follows is bounded to the figure.

use super::*;
use crate::model::{AreaState, CqState, PoolState, QueueRing, RefillState, TaskState};
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

/// Every figure that a rule is about, with a way to make it impossible.
const IMPOSSIBLE: [(&str, fn(&mut KernelQueue)); 10] = [
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
    ("ifindex", |queue| queue.ifindex = Some(0xffff_8881)),
    ("queue", |queue| queue.queue = Some(0x8881_0000)),
    ("cq.entries", |queue| {
        queue.rings[0].cq = Some(CqState { entries: 0, ..CqState::default() });
    }),
];

fn snapshot(queue: KernelQueue) -> KernelSnapshot {
    KernelSnapshot { queues: vec![Arc::new(queue)], ..KernelSnapshot::default() }
}

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
fn impossible_figure_is_named_hidden_and_nothing_else_is() {
    let mut random = Random(4);
    for (name, spoil) in IMPOSSIBLE {
        for _ in 0..1000 {
            let mut queue = possible(&mut random);
            spoil(&mut queue);
            let broken = broken_rules(&queue);
            assert!(broken.iter().any(|rule| rule.figure == name), "{name}: {queue:?}");
            let (mut doubts, mut known) = (Doubts::default(), Known::of(&Resolved::all()));
            let mut taken = snapshot(queue);
            doubts.apply(&mut taken, &mut known);
            assert!(!taken.incomplete.is_empty());
            let Some(shown) = taken.queues.first() else {
                assert!(["areas.buffers", "areas.free", "queue"].contains(&name), "{name} spoils the queue");
                continue;
            };
            assert!(broken_rules(shown).is_empty(), "{name} is still shown");
        }
    }
}

#[test]
fn figure_is_switched_off_after_three_snapshots_in_a_row() {
    let (mut doubts, mut known) = (Doubts::default(), Known::of(&Resolved::all()));
    let (mut right, mut wrong) = (possible(&mut Random(5)), possible(&mut Random(5)));
    right.buffer_bytes = Some(4096);
    wrong.buffer_bytes = Some(1);
    for queue in [&wrong, &wrong, &right, &wrong, &wrong] {
        doubts.apply(&mut snapshot(queue.clone()), &mut known);
        assert_eq!(doubts.switched_off, [], "a queue that is torn down may be read wrongly once");
    }
    doubts.apply(&mut snapshot(wrong), &mut known);
    let off: Vec<_> =
        doubts.switched_off.iter().map(|figure| (figure.name.as_str(), figure.is_right())).collect();
    assert_eq!(off, [("buffer_bytes", Some(false))]);
    assert!(!doubts.all);
    let mut later = snapshot(right.clone());
    doubts.apply(&mut later, &mut known);
    assert_eq!(later.incomplete, ["buffer_bytes is switched off: it was read wrongly"]);
    right.areas[0].free = right.areas[0].buffers + 1;
    for _ in 0..PATIENCE {
        doubts.apply(&mut snapshot(right.clone()), &mut known);
    }
    assert!(doubts.all, "without areas nothing can be calculated");
}

#[test]
fn what_the_owner_writes_switches_nothing_off() {
    let mut queue = possible(&mut Random(6));
    queue.refill = queue.refill.map(|refill| RefillState { tail: refill.tail.wrapping_sub(77), ..refill });
    let cq = CqState { entries: 64, head: 1 << 30, tail: 7, overflow: u32::MAX, ..CqState::default() };
    queue.rings[0].cq = Some(cq);
    assert_eq!(broken_rules(&queue), []);
}
