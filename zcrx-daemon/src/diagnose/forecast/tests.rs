//! On a model of a queue: `queue_model` says what that proves.

use super::*;
use crate::diagnose::queue_model::Queue;
use crate::model::Cause;

/// Runs until the first allocation fails and answers when that was, in seconds.
fn fails_after(mut queue: Queue, seconds: u64) -> Option<f64> {
    let mut first = None;
    let mut begun = None;
    queue.run_with(seconds, |sample| {
        let begun = *begun.get_or_insert(sample.at);
        if sample.nic.alloc_fail > Some(0) {
            first.get_or_insert(sample.at.saturating_sub(begun).as_secs_f64());
        }
    });
    first
}

#[test]
fn the_time_left_is_what_is_free_by_what_is_lost() {
    // 1000 more arrive each second than come back; a ring of 512 and 128 cached are taken from 16384.
    let slow = Queue {
        buffers: 16_384,
        refill_entries: 16_384,
        arrivals_per_second: 5_000.0,
        returns_per_second: 4_000.0,
        ..Queue::default()
    };
    let mut queue = slow.clone();
    let window = queue.run(6);
    let forecast = forecast(&window).expect("samples");
    let Answer::Known(Starvation::In(left)) = forecast.starvation else { panic!("{forecast:?}") };
    // 6 s have cost 6000 of about 15800.
    assert!((9.0..=10.6).contains(&left.as_secs_f64()), "{forecast:?}");
    assert!(forecast.arrivals.is_some_and(|rate| (4_900.0..=5_100.0).contains(&rate)), "{forecast:?}");
    assert!(forecast.returns.is_some_and(|rate| (3_900.0..=4_100.0).contains(&rate)), "{forecast:?}");
    let happened = fails_after(slow, 30).expect("it starves") - 6.0;
    assert!((happened / left.as_secs_f64() - 1.0).abs() < 0.2, "{happened} s, foretold {left:?}");
    assert!(
        matches!(forecast.sizes, Answer::Unknown(reason) if reason.starts_with("no size is large enough"))
    );
}

#[test]
fn a_load_that_has_just_begun_is_judged_by_what_it_does_since() {
    let load = Queue {
        buffers: 16_384,
        refill_entries: 16_384,
        arrivals_per_second: 5_000.0,
        returns_per_second: 4_000.0,
        ..Queue::default()
    };
    let idle = Queue { arrivals_per_second: 0.0, ..load.clone() };
    let mut queue = idle;
    let mut window = queue.run(20);
    queue.arrivals_per_second = load.arrivals_per_second;
    queue.run_with(6, |sample| window.push(sample));
    let forecast = forecast(&window).expect("samples");
    let Answer::Known(Starvation::In(left)) = forecast.starvation else { panic!("{forecast:?}") };
    // As in the test above: 6 s have cost 6000 of about 15800.
    assert!((8.0..=12.0).contains(&left.as_secs_f64()), "{forecast:?}");
}

#[test]
fn a_rise_that_has_ended_is_not_carried_on() {
    let mut queue = Queue {
        buffers: 16_384,
        refill_entries: 16_384,
        arrivals_per_second: 5_000.0,
        returns_per_second: 4_000.0,
        ..Queue::default()
    };
    let mut window = queue.run(6);
    // As with `hold_limit`: the owner holds no more, and returns as much as arrives.
    queue.arrivals_per_second = queue.returns_per_second;
    for second in 1..=60 {
        queue.run_with(1, |sample| window.push(sample));
        let starvation = forecast(&window).expect("samples").starvation;
        let foretold = matches!(starvation, Answer::Known(Starvation::In(_)));
        assert!(second < 3 || !foretold, "{second} s after the end of the rise: {starvation:?}");
    }
}

#[test]
fn a_leak_is_foreseen_too() {
    let leaky = Queue { leak: 0.01, buffers: 8_192, ..Queue::default() };
    let mut queue = leaky.clone();
    let forecast = forecast(&queue.run(10)).expect("samples");
    // 200 a second of about 7500.
    let Answer::Known(Starvation::In(left)) = forecast.starvation else { panic!("{forecast:?}") };
    let happened = fails_after(leaky, 60).expect("it starves") - 10.0;
    assert!((0.5..=2.0).contains(&(happened / left.as_secs_f64())), "{happened} s, foretold {left:?}");
}

#[test]
fn a_queue_that_keeps_up_does_not_starve() {
    let forecast = forecast(&Queue::default().run(10)).expect("samples");
    assert_eq!(forecast.starvation, Answer::Known(Starvation::NotAtThisRate));
}

#[test]
fn a_starving_queue_starves_now() {
    let mut queue = Queue { leak: 1.0, ..Queue::default() };
    let forecast = forecast(&queue.run(8)).expect("samples");
    assert_eq!(forecast.starvation, Answer::Known(Starvation::Now));
}

#[test]
fn too_little_was_seen_to_tell() {
    let forecast = forecast(&Queue::default().run(1)).expect("samples");
    assert!(
        matches!(&forecast.starvation, Answer::Unknown(why) if why == "watched for 1.0 s only"),
        "{forecast:?}"
    );
    let unknown =
        QueueSample::unknown(crate::model::QueueKey { interface: None, queue: 0 }, 1, Duration::from_secs(1));
    let mut window = History::new(8);
    (1..=5).for_each(|second| {
        window.push(QueueSample { at: Duration::from_secs(second), ..unknown.clone() });
    });
    let forecast = super::forecast(&window).expect("samples");
    assert!(matches!(&forecast.starvation, Answer::Unknown(why) if why.contains("no kernel snapshot")));
    assert!(matches!(forecast.sizes, Answer::Unknown(_)));
}

#[test]
fn sizes_recommended_end_the_starvation() {
    let small = Queue { buffers: 600, ring: 512, bursts: Some(700), ..Queue::default() };
    let window = small.clone().run(10);
    assert_eq!(
        crate::diagnose::diagnose(&window).cause().map(|found| found.cause),
        Some(Cause::AreaTooSmall)
    );
    let forecast = forecast(&window).expect("samples");
    let sizes = *forecast.sizes.known().expect("sizes");
    assert_eq!(sizes.area_bytes, Some(sizes.area_buffers * 4096));
    assert!(sizes.at_least, "what a starving queue would take is not seen: {sizes:?}");
    let mut remedied =
        Queue { buffers: sizes.area_buffers, refill_entries: u64::from(sizes.refill_entries), ..small };
    let window = remedied.run(20);
    assert!(crate::diagnose::diagnose(&window).alarms.is_empty(), "{sizes:?}");
    assert_eq!(window.last().and_then(|last| last.nic.hw_drops), Some(0), "{sizes:?}");
}

#[test]
fn sizes_of_a_queue_whose_allocations_failed_are_lower_bounds() {
    // What is posted outlasts each burst: no packet is lost. The whole area was in use at once, which is no measure of what would
    // have been.
    let queue = |buffers| Queue { buffers, ring: 512, bursts: Some(300), hold_ms: 12, ..Queue::default() };
    let window = queue(700).run(10);
    let forecast_of_small = forecast(&window).expect("samples");
    let sizes = *forecast_of_small.sizes.known().unwrap_or_else(|| panic!("{forecast_of_small:?}"));
    assert_eq!(window.last().and_then(|last| last.nic.hw_drops), Some(0), "{sizes:?}");
    assert!(sizes.at_least, "{sizes:?}");
    let forecast_of_large = forecast(&queue(16_384).run(10)).expect("samples");
    let sizes = *forecast_of_large.sizes.known().unwrap_or_else(|| panic!("{forecast_of_large:?}"));
    assert!(!sizes.at_least, "{sizes:?}");
}

#[test]
fn a_refill_ring_that_drops_returns_gets_an_entry_for_each_buffer() {
    let mut queue = Queue {
        refill_entries: 64,
        arrivals_per_second: 2_000.0,
        bursts: Some(300),
        return_batch: 200,
        overflow: crate::diagnose::queue_model::Overflow::Drop,
        ..Queue::default()
    };
    let forecast = forecast(&queue.run(20)).expect("samples");
    let sizes = *forecast.sizes.known().expect("sizes");
    assert_eq!((sizes.area_buffers, u64::from(sizes.refill_entries)), (queue.buffers, queue.buffers));
}

#[test]
fn littles_law_gives_the_hold_time() {
    // 20000 a second, returned in batches of 2000: between 0 and 2000 are held, 1000 on average, for 50 ms each.
    let mut queue = Queue { return_batch: 2_000, cadence: Duration::from_millis(170), ..Queue::default() };
    let forecast = forecast(&queue.run(20)).expect("samples");
    let hold = forecast.hold_time.expect("a hold time").as_secs_f64();
    assert!((0.04..=0.06).contains(&hold), "{forecast:?}");
}
