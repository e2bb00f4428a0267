//! The allocator and the user side of the refill ring, in any order of steps: every buffer is somewhere, once.

use std::sync::Arc;

use proptest::prelude::*;

use super::{ALLOC_CACHE_REFILL, Allocator, Niov, Rejected};
use crate::receive::mapping::Mapping;
use crate::receive::refill::{Consumer, MappedRing, Producer, RingMemory};
use zcrx_uapi::zcrx::IORING_ZCRX_AREA_SHIFT;
use zcrx_uapi::{ZcrxOffsets, ZcrxRqe};

const NIOV_BYTES: usize = 4096;

struct Queue {
    allocator: Allocator<MappedRing>,
    user: Producer<MappedRing>,
}

fn queue(area_id: u16, niovs: u32, entries: u32, start: u32) -> Queue {
    let offsets = ZcrxOffsets { head: 0, tail: 4, rqes: 8, ..ZcrxOffsets::default() };
    let region = Arc::new(Mapping::new(entries as usize * 16 + 8).expect("ring memory"));
    let memory = MappedRing::new(region, &offsets, entries).expect("fits");
    memory.head_release(start);
    memory.tail_release(start);
    let allocator = Allocator::new(Consumer::new(memory.clone()), area_id, niovs, NIOV_BYTES);
    Queue { allocator, user: Producer::new(memory) }
}

/// What user space writes to return one completion.
fn rqe(off: u64) -> ZcrxRqe {
    ZcrxRqe { off, ..ZcrxRqe::default() }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Fill a buffer with so many fragments, and hand each to the user. 0: the buffer stays unused.
    Receive(u8),
    /// Return the buffer of user space's n-th completion (modulo the number that it holds).
    GiveBack(u16),
    Publish,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8).prop_map(Step::Receive),
        4 => any::<u16>().prop_map(Step::GiveBack),
        1 => Just(Step::Publish),
    ]
}

proptest! {
    #[test]
    fn every_buffer_is_dispensed_and_returned_exactly_once(
        steps in prop::collection::vec(step(), 1..400),
        niovs in 1..200_u32,
        shift in 0..7_u32,
        start in any::<u32>(),
        area_id in prop_oneof![Just(0_u16), any::<u16>()],
    ) {
        let Queue { mut allocator, mut user } = queue(area_id, niovs, 1 << shift, start);
        let mut held: Vec<u64> = Vec::new();
        let mut references = vec![0_u32; niovs as usize];
        let index = |off: u64| ((off & ((1 << IORING_ZCRX_AREA_SHIFT) - 1)) as usize) / NIOV_BYTES;

        for step in steps {
            match step {
                Step::Receive(fragments) => {
                    let Some(niov) = allocator.alloc() else { continue };
                    prop_assert!(!held.iter().any(|off| index(*off) == niov.0 as usize), "{niov:?} is in use");
                    for fragment in 0..fragments {
                        let cqe = allocator.dispense(niov, u32::from(fragment) * 1000);
                        prop_assert_eq!(cqe.off >> IORING_ZCRX_AREA_SHIFT, u64::from(area_id));
                        held.push(cqe.off);
                        references[niov.0 as usize] += 1;
                    }
                    allocator.release(niov);
                }
                Step::GiveBack(n) => if !held.is_empty() {
                    let off = held.swap_remove(n as usize % held.len());
                    user.push(rqe(off));
                }
                Step::Publish => { user.publish(); }
            }
            prop_assert_eq!(allocator.rejected(), Rejected::default());
            prop_assert_eq!(allocator.free() + allocator.user_held(), niovs as usize);
        }

        // The user gives everything back: then every buffer can be taken once more, and none twice.
        for off in held.drain(..) {
            user.push(rqe(off));
        }
        let mut taken = std::collections::BTreeSet::new();
        let mut fruitless = 0;
        while fruitless < 2 + references.iter().sum::<u32>() as usize {
            user.publish();
            match allocator.alloc() {
                Some(niov) => prop_assert!(taken.insert(niov), "{niov:?} was given twice"),
                None => fruitless += 1,
            }
        }
        prop_assert_eq!(taken.len(), niovs as usize);
        prop_assert_eq!((user.stashed(), user.depth()), (0, 0));
    }
}

#[test]
fn buffers_come_from_the_cache_then_the_ring_then_the_freelist_then_not_at_all() {
    let niovs = ALLOC_CACHE_REFILL as u32 + 2;
    let Queue { mut allocator, mut user } = queue(0, niovs, 128, 0);
    let first = allocator.alloc().expect("from the freelist");
    let cqe = allocator.dispense(first, 0);
    allocator.release(first);
    user.push(rqe(cqe.off));
    user.publish();
    // 63 are left in the cache: the ring is not looked at before they are gone.
    for _ in 1..ALLOC_CACHE_REFILL {
        assert_ne!(allocator.alloc(), Some(first));
        assert_eq!(user.depth(), 1);
    }
    assert_eq!(allocator.alloc(), Some(first), "from the ring, though the freelist has two");
    assert_eq!(user.depth(), 0);
    assert!(allocator.alloc().is_some() && allocator.alloc().is_some(), "from the freelist");
    assert_eq!(allocator.alloc(), None, "starved");
}

#[test]
fn at_most_64_entries_are_looked_at_even_if_they_yield_nothing() {
    let Queue { mut allocator, mut user } = queue(0, 2, 256, 0);
    let niov = allocator.alloc().expect("one of two");
    let cqes: Vec<_> = (0..100).map(|i| allocator.dispense(niov, i)).collect();
    allocator.release(niov);
    let other = allocator.alloc().expect("two of two");
    for cqe in cqes {
        user.push(rqe(cqe.off));
    }
    user.publish();
    assert_eq!(allocator.alloc(), None, "64 of 100 references are back, the buffer is not");
    assert_eq!(user.depth(), 100 - 64);
    assert_eq!(allocator.alloc(), Some(niov));
    allocator.release(other);
}

#[test]
fn malformed_and_doubled_entries_are_consumed_and_counted() {
    let Queue { mut allocator, mut user } = queue(3, 1, 64, 0);
    let niov = allocator.alloc().expect("the only one");
    let good = rqe(allocator.dispense(niov, 0).off);
    allocator.release(niov);
    let malformed = [
        ZcrxRqe { __pad: 1, ..good },
        rqe(good.off & !(0xffff << IORING_ZCRX_AREA_SHIFT)),
        rqe(good.off + NIOV_BYTES as u64),
    ];
    for entry in malformed {
        user.push(entry);
    }
    user.push(good);
    user.push(good);
    user.publish();
    assert_eq!(allocator.alloc(), Some(niov));
    assert_eq!(allocator.rejected(), Rejected { malformed: 3, unreferenced: 1 });
    assert_eq!(user.depth(), 0);
}

#[test]
fn any_byte_of_a_buffer_names_it() {
    let Queue { mut allocator, mut user } = queue(0, 1, 64, 0);
    let niov = allocator.alloc().expect("the only one");
    let cqe = allocator.dispense(niov, 17);
    allocator.release(niov);
    user.push(rqe(cqe.off + 1000));
    user.publish();
    assert_eq!(allocator.alloc(), Some(Niov(0)));
}

#[test]
fn a_flush_consumes_everything_at_once() {
    let Queue { mut allocator, mut user } = queue(0, 100, 256, 0);
    for _ in 0..100 {
        let niov = allocator.alloc().expect("one of a hundred");
        user.push(rqe(allocator.dispense(niov, 0).off));
        allocator.release(niov);
    }
    user.publish();
    allocator.flush();
    assert_eq!((user.depth(), allocator.user_held(), allocator.free()), (0, 0, 100));
}
