//! Both sides of the ring, in any order of steps, against a queue that cannot go wrong.

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;

use super::{Consumer, MappedRing, Producer, RingMemory};
use crate::memory::Mapping;
use zcrx_uapi::{ZcrxOffsets, ZcrxRqe};

#[derive(Clone, Copy, Debug)]
enum Step {
    Push(u8),
    Publish,
    Consume(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..20_u8).prop_map(Step::Push),
        2 => Just(Step::Publish),
        2 => (0..20_u8).prop_map(Step::Consume),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        steps in prop::collection::vec(step(), 1..200),
        shift in 0..7_u32,
        start in prop_oneof![Just(0), Just(u32::MAX - 3), any::<u32>()],
        (head, tail, rqes) in prop_oneof![Just((0, 4, 8)), Just((0, 64, 128))],
    ) {
        let offsets = ZcrxOffsets { head, tail, rqes, ..ZcrxOffsets::default() };
        let region = Arc::new(Mapping::new(1).expect("a page"));
        let memory = MappedRing::new(region, &offsets, 1 << shift).expect("fits");
        memory.head_release(start);
        memory.tail_release(start);
        let mut producer = Producer::new(memory.clone());
        let mut consumer = Consumer::new(memory.clone());
        let mut model = VecDeque::new();
        let mut next = 0_u64;

        for step in steps {
            match step {
                Step::Push(count) => for _ in 0..count {
                    producer.push(ZcrxRqe { off: next, ..ZcrxRqe::default() });
                    model.push_back(next);
                    next += 1;
                },
                Step::Publish => { producer.publish(); }
                Step::Consume(count) => {
                    for _ in 0..u32::from(count).min(consumer.available()) {
                        prop_assert_eq!(Some(consumer.take().off), model.pop_front());
                    }
                    consumer.release();
                }
            }
            prop_assert!(memory.depth() <= memory.entries());
        }
        while !model.is_empty() {
            producer.publish();
            for _ in 0..consumer.available() {
                prop_assert_eq!(Some(consumer.take().off), model.pop_front());
            }
            consumer.release();
        }
        prop_assert_eq!(producer.stashed(), 0);
        prop_assert_eq!(consumer.available(), 0);
    }
}
