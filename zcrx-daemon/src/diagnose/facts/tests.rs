//! Windows made by hand.

use super::*;
use crate::diagnose::queue_model::Queue;
use std::sync::Arc;

use crate::model::{KernelQueue, QueueKey, RefillState};

fn sample(second: u64, tail: u32) -> QueueSample {
    let key = QueueKey { interface: Some("eth0".to_owned()), queue: 3 };
    QueueSample {
        kernel: Some(Arc::new(KernelQueue {
            refill: Some(RefillState { entries: 64, cached_head: tail.wrapping_sub(10), tail }),
            ..KernelQueue::default()
        })),
        napi_polls: Some(1000 - second),
        ..QueueSample::unknown(key, 1, Duration::from_secs(second))
    }
}

#[test]
fn ring_indices_are_subtracted_across_their_wrap() {
    let change = Change::between(&sample(1, u32::MAX - 4), &sample(3, 5));
    assert_eq!(change.returned, Some(10));
    assert_eq!(change.rate(change.returned), Some(5.0));
}

#[test]
fn a_counter_that_went_back_is_unknown_and_not_huge() {
    assert_eq!(Change::between(&sample(1, 0), &sample(2, 0)).polls, None);
}

#[test]
fn what_nobody_counts_is_unknown() {
    let change = Change::between(&sample(1, 0), &sample(2, 0));
    assert_eq!((change.failures, change.bytes, change.drops, change.enomem), (None, None, None, None));
    assert_eq!(change.wasted(), None);
}

#[test]
fn places_of_a_synthetic_queue_add_up_to_its_area() {
    let mut queue = Queue { returns_per_second: 5_000.0, ..Queue::default() };
    let window = queue.run(3);
    let placement = Placement::of(window.last().expect("samples"));
    let sum = [placement.free, placement.held, placement.completed, placement.pending, placement.kernel]
        .into_iter()
        .sum::<Option<u64>>();
    assert_eq!(sum, placement.total);
}

#[test]
fn without_a_snapshot_nothing_is_placed() {
    let unknown = QueueSample::unknown(sample(1, 0).key, 1, Duration::from_secs(1));
    assert_eq!(Placement::of(&unknown), Placement::default());
}
