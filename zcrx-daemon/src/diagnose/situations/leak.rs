//! Leaks: slow, late, beside other faults, and remembered.

use std::time::Duration;

use super::*;
use crate::diagnose::queue_model::Overflow;

#[test]
fn a_leak_that_fills_the_area_in_hours_is_named_hours_before_with_its_rate() {
    // A buffer lost every 2.2 s: all but the receive ring is gone after 2.2 hours.
    let mut scene = Scene::new(Queue {
        arrivals_per_second: 1_000.0,
        leaks_at_once: (2_200, 1),
        cadence: Duration::from_secs(2),
        ..Queue::default()
    });
    let mut minutes = 0;
    while !scene.causes.contains(&Some(Cause::NeverReturned)) {
        scene.run(60);
        minutes += 1;
        assert_eq!(scene.queue.ledger().packets_lost, 0, "not named after {minutes} min: {}", scene.words());
    }
    assert_eq!(scene.names(Cause::NeverReturned), Confidence::High, "{}", scene.words());
    assert_eq!(scene.diagnosis().alarms[0].trouble, Trouble::Leaking, "{}", scene.words());
    scene.says("0.5 a second");
    scene.says("none is left in ");
    let named = minutes;
    while scene.queue.ledger().packets_lost == 0 {
        scene.run(60);
        minutes += 1;
        assert!(minutes < 3 * 60, "the model does not starve");
    }
    assert!(minutes - named >= 60, "named after {named} min, and starved after {minutes} min");
    let since = scene.causes.iter().position(|&cause| cause == Some(Cause::NeverReturned)).expect("named");
    assert!(
        scene.causes[since..].iter().all(|&cause| cause == Some(Cause::NeverReturned)),
        "it stays named until then"
    );
}

#[test]
fn a_refill_ring_that_was_full_once_does_not_explain_a_leak_hours_later() {
    let mut scene = Scene::new(Queue { refill_entries: 256, return_batch: 1, ..Queue::default() });
    scene.then(|queue| queue.return_batch = 300).run(3);
    // What it keeps from then on lets the ring run empty.
    scene
        .then(|queue| {
            queue.return_batch = 1;
            queue.keeps = 600;
        })
        .run(1800);
    scene.then(|queue| queue.leak = 0.01).run(60);
    scene.names(Cause::NeverReturned);
}

#[test]
fn a_leak_beside_unread_send_completions_is_a_leak() {
    // The ring also sends; the newest 1000 completions of sends are unread in each sample.
    let mut scene = Scene::new(Queue {
        other_completions: 30_000.0,
        other_unread: 1000,
        leak: 0.006,
        ..Queue::default()
    });
    scene.run(60);
    scene.names(Cause::NeverReturned);
    scene.then(|queue| queue.leak = 1.0).run(30);
    scene.names(Cause::NeverReturned);
}

#[test]
fn a_leak_on_close_beside_slowness_stays_named_while_allocations_fail() {
    let mut scene = Scene::new(Queue {
        leaks_at_once: (200, 20),
        return_batch: 1,
        hold_ms: 20,
        socket_limit: 512,
        ..Queue::default()
    });
    let mut named = None;
    for second in 0..120 {
        scene.run(1);
        let first = scene.causes.last().copied().flatten();
        if first == Some(Cause::NeverReturned) {
            named.get_or_insert(second);
        }
        assert!(named.is_none() || first == Some(Cause::NeverReturned), "{second} s: {}", scene.words());
    }
    assert!(named.is_some_and(|second| second < 40), "{named:?}");
    assert!(scene.queue.ledger().packets_lost > 0, "it starves in the end");
}

#[test]
fn twenty_lost_buffers_a_second_stay_named_while_allocations_fail() {
    let mut scene =
        Scene::new(Queue { leak: 0.002, arrivals_per_second: 10_000.0, buffers: 2_048, ..Queue::default() });
    scene.run(180);
    assert!(scene.queue.ledger().packets_lost > 0, "it starves in the end");
    scene.names(Cause::NeverReturned);
    let since = scene.causes.iter().position(|&cause| cause == Some(Cause::NeverReturned)).expect("named");
    assert!(
        scene.causes[since..].iter().all(|&cause| cause == Some(Cause::NeverReturned)),
        "{:?}",
        scene.causes
    );
}

#[test]
fn a_leak_without_a_device_is_a_leak() {
    let mut scene =
        Scene::new(Queue { device: false, copied: 1.0, flushes_every_ms: 1, leak: 0.03, ..Queue::default() });
    scene.run(40);
    scene.names(Cause::NeverReturned);
}

#[test]
fn a_slow_owner_without_a_device_is_slow() {
    let mut scene = Scene::new(Queue {
        device: false,
        copied: 1.0,
        flushes_every_ms: 1,
        returns_per_second: 3_000.0,
        ..Queue::default()
    });
    scene.run(15);
    scene.names(Cause::SlowConsumer);
    assert!(
        !scene.words().contains("header split") && !scene.words().contains("headroom: 100 %"),
        "{}",
        scene.words()
    );
}

#[test]
fn a_queue_without_a_device_that_is_seldom_flushed_waits_for_a_flush() {
    let mut scene =
        Scene::new(Queue { device: false, copied: 1.0, flushes_every_ms: 4_000, ..Queue::default() });
    scene.run(30);
    scene.names(Cause::NoDevice);
    scene.says("FLUSH_RQ");
    let report = scene.report();
    assert!(!scene.words().contains("does not starve at this rate"), "{}", scene.words());
    assert!(report.forecast.headroom.is_some_and(|headroom| headroom < 0.1), "{:?}", report.forecast);
}

#[test]
fn returns_that_find_no_room_are_told_from_a_leak() {
    let mut scene = Scene::new(Queue {
        refill_entries: 64,
        arrivals_per_second: 2_000.0,
        bursts: Some(300),
        return_batch: 200,
        overflow: Overflow::Drop,
        ..Queue::default()
    });
    scene.run(30);
    scene.names(Cause::RefillRingFull);
}
