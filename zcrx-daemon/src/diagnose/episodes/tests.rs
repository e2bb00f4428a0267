//! Episodes of the queue model: healthy ones must have none, each fault exactly one with its cause first.

use proptest::prelude::*;

use super::*;
use crate::diagnose::queue_model::{Overflow, Queue};

const SAMPLES: usize = 120;

/// Runs for so many seconds and gives what happened.
fn watch(tracker: &mut Tracker, queue: &mut Queue, seconds: u64) -> Vec<Event> {
    let mut events = Vec::new();
    queue.run_with(seconds, |sample| events.extend(tracker.feed(sample)));
    events
}

/// Lets a queue be healthy, breaks it, and checks that within two seconds of the first harm an episode begins with this
/// cause. Gives the tracker for more.
fn breaks_with(mut queue: Queue, fault: impl FnOnce(&mut Queue), cause: Cause, seconds: u64) -> Tracker {
    let mut tracker = Tracker::new(SAMPLES);
    let calm = watch(&mut tracker, &mut queue, 5);
    assert_eq!(calm, [], "healthy before the fault");
    fault(&mut queue);
    let events = watch(&mut tracker, &mut queue, seconds);
    let Some(Event::Began(episode)) = events.first() else {
        panic!("no episode: {:#?}", tracker.diagnosis())
    };
    assert_eq!(episode.cause(), Some(cause), "{:#?}", episode.diagnosis);
    let open = tracker.open().expect("it lasts");
    assert_eq!(open.cause(), Some(cause), "{:#?}", open.diagnosis);
    let patience = match episode.trouble {
        Trouble::Leaking | Trouble::RefillOverflow => Duration::MAX,
        Trouble::Pinned => crate::diagnose::thresholds::PINNED + queue.cadence,
        _ => Duration::from_secs(2),
    };
    assert!(episode.noticed.saturating_sub(episode.began) <= patience, "{episode:#?}");
    tracker
}

#[test]
fn a_slow_consumer_begins_an_episode_and_its_recovery_ends_it() {
    let mut queue = Queue::default();
    let mut tracker = Tracker::new(SAMPLES);
    watch(&mut tracker, &mut queue, 5);
    queue.returns_per_second = 2_000.0;
    let events = watch(&mut tracker, &mut queue, 8);
    assert!(matches!(events.as_slice(), [Event::Began(_)]), "{events:#?}");
    queue.returns_per_second = 1e7;
    let events = watch(&mut tracker, &mut queue, 8);
    let [Event::Ended(episode)] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!(episode.cause(), Some(Cause::SlowConsumer));
    assert!(episode.failed_allocations > Some(0) && episode.drops > Some(0) && episode.bytes > Some(0));
    let lasted = episode.lasted(Duration::ZERO);
    assert!((Duration::from_secs(6)..Duration::from_secs(11)).contains(&lasted), "{lasted:?}");
    assert_eq!(tracker.tally().begun, 1);
    assert_eq!(tracker.tally().ended, BTreeMap::from([(Some(Cause::SlowConsumer), 1)]));
    assert_eq!(tracker.tally().starved, lasted);
    assert!(tracker.open().is_none());
}

#[test]
fn a_moment_without_buffers_is_counted_and_not_told() {
    let mut queue = Queue { socket_limit: 100_000, ..Queue::default() };
    let mut tracker = Tracker::new(SAMPLES);
    watch(&mut tracker, &mut queue, 5);
    queue.owner_runs = false;
    // 4096 buffers are gone after 0.2 s.
    queue.cadence = Duration::from_millis(300);
    let mut events = Vec::new();
    let mut half = |queue: &mut Queue, tracker: &mut Tracker| {
        queue.run_with(1, |sample| events.extend(tracker.feed(sample)));
    };
    queue.arrivals_per_second = 4_200.0;
    half(&mut queue, &mut tracker);
    queue.owner_runs = true;
    queue.arrivals_per_second = 20_000.0;
    half(&mut queue, &mut tracker);
    events.extend(watch(&mut tracker, &mut queue, 10));
    assert_eq!(events, []);
    assert!(tracker.tally().healed_failures > 0, "{:?}", tracker.tally());
}

#[test]
fn an_episode_stays_open_while_nobody_sends_and_nothing_was_healed() {
    let mut queue = Queue { leak: 1.0, ..Queue::default() };
    let mut tracker = Tracker::new(SAMPLES);
    watch(&mut tracker, &mut queue, 10);
    queue.arrivals_per_second = 0.0;
    queue.napi_restarts = false;
    let events = watch(&mut tracker, &mut queue, 30);
    assert_eq!(events, []);
    assert_eq!(tracker.open().and_then(Episode::cause), Some(Cause::NeverReturned));
}

#[test]
fn a_new_registration_ends_the_episode_of_the_old_one() {
    let mut queue = Queue { leak: 1.0, ..Queue::default() };
    let mut tracker = Tracker::new(SAMPLES);
    watch(&mut tracker, &mut queue, 10);
    let key = QueueKey { interface: Some("eth0".to_owned()), queue: 3 };
    let events = tracker.feed(QueueSample::unknown(key, 2, Duration::from_secs(5_000)));
    assert!(matches!(events.as_slice(), [Event::Ended(_)]), "{events:#?}");
}

#[test]
fn a_pool_that_cannot_go_is_told_after_the_kernels_own_patience() {
    breaks_with(Queue::default(), |queue| queue.torn_down = true, Cause::PinnedAfterTeardown, 6);
}

#[test]
fn returns_dropped_at_a_full_ring_are_not_called_a_leak() {
    let queue = Queue {
        refill_entries: 64,
        arrivals_per_second: 2_000.0,
        bursts: Some(60),
        return_batch: 1,
        overflow: Overflow::Drop,
        ..Queue::default()
    };
    let fault = |queue: &mut Queue| {
        queue.bursts = Some(150);
        queue.return_batch = 100;
    };
    breaks_with(queue, fault, Cause::RefillRingFull, 25);
}

#[test]
fn a_forgetful_driver_stalls_the_queue() {
    let mut queue = Queue { napi_restarts: false, socket_limit: 100_000, ..Queue::default() };
    let mut tracker = Tracker::new(SAMPLES);
    watch(&mut tracker, &mut queue, 5);
    queue.owner_runs = false;
    watch(&mut tracker, &mut queue, 1);
    queue.owner_runs = true;
    let events = watch(&mut tracker, &mut queue, 5);
    let Some(Event::Began(episode)) = events.first() else { panic!("no episode") };
    assert_eq!(
        (episode.trouble, episode.cause()),
        (Trouble::Stalled, Some(Cause::LazyConsumption)),
        "{episode:#?}"
    );
}

/// Healthy queues of every kind: loads, bursts, rings, areas at their limit, slow looks. "Healthy" is that the area
/// covers the receive ring, the pool's cache, the sockets' buffers and what the owner holds, so that no packet is lost.
fn healthy() -> impl Strategy<Value = Queue> {
    let shape = (64u64..1024, 64u64..2048, 1u64..400, prop::option::of(1u64..600), 0.0f64..0.2);
    let load = (100.0f64..200_000.0, 1u64..8, 250u64..1200, any::<bool>(), any::<bool>());
    (shape, load).prop_map(|((ring, socket_limit, return_batch, bursts, copied), load)| {
        let (arrivals_per_second, fragments, cadence, tells_sockets, tells_drops) = load;
        // Copies need free buffers besides.
        let spare = if copied > 0.1 { 2 * socket_limit } else { 64 };
        Queue {
            buffers: ring + 128 + 2 * socket_limit + return_batch + spare,
            ring,
            socket_limit,
            arrivals_per_second,
            bursts,
            copied: if copied > 0.1 { copied } else { 0.0 },
            fragments: if copied > 0.1 { 1 } else { fragments },
            return_batch,
            refill_entries: 32_768,
            cq_entries: 65_536,
            cadence: Duration::from_millis(cadence),
            tells_sockets,
            tells_drops,
            ..Queue::default()
        }
    })
}

/// A fault, what causes it, and how long it takes to show.
fn faulty() -> impl Strategy<Value = (Queue, Cause, u64)> {
    let load = (10_000.0f64..100_000.0, 250u64..1000, 0.05f64..0.4);
    (load, 0usize..7).prop_map(|((arrivals_per_second, cadence, share), kind)| {
        let queue =
            Queue { arrivals_per_second, cadence: Duration::from_millis(cadence), ..Queue::default() };
        let unbounded = Queue { socket_limit: 100_000, ..queue.clone() };
        match kind {
            0 => (
                Queue { returns_per_second: arrivals_per_second * share, ..unbounded },
                Cause::SlowConsumer,
                6,
            ),
            1 => (Queue { armed: false, ..unbounded }, Cause::UnreadSocketData, 6),
            2 => (
                Queue { buffers: 600, bursts: Some(900), socket_limit: 1500, ..queue },
                Cause::AreaTooSmall,
                8,
            ),
            3 => (Queue { leak: 1.0, ..queue }, Cause::NeverReturned, 6),
            4 => (
                Queue { fragments: 32, pinning: true, cq_entries: 1 << 20, ..queue },
                Cause::FragmentPinning,
                8,
            ),
            5 => (Queue { bad_entries: share + 0.1, ..queue }, Cause::BadEntries, 8),
            _ => (Queue { missteered_per_second: 5.0, ..queue }, Cause::MissteeredFlow, 4),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_healthy_queue_has_no_episode(mut queue in healthy(), pause in 0.0f64..1.0) {
        let mut tracker = Tracker::new(SAMPLES);
        let mut events = watch(&mut tracker, &mut queue, 30);
        let load = queue.arrivals_per_second;
        queue.arrivals_per_second = load * pause;
        events.extend(watch(&mut tracker, &mut queue, 20));
        queue.arrivals_per_second = 0.0;
        events.extend(watch(&mut tracker, &mut queue, 20));
        queue.arrivals_per_second = load;
        events.extend(watch(&mut tracker, &mut queue, 30));
        prop_assert_eq!(&events, &Vec::new());
    }

    #[test]
    fn each_fault_is_named_first((mut queue, cause, seconds) in faulty()) {
        let mut tracker = Tracker::new(SAMPLES);
        let events = watch(&mut tracker, &mut queue, seconds);
        prop_assert!(
            matches!(events.first(), Some(Event::Began(_))),
            "no episode for {cause}: {:#?}", tracker.diagnosis()
        );
        let episode = tracker.open().expect("the fault lasts");
        prop_assert_eq!(episode.cause(), Some(cause), "{:#?}", episode);
    }
}
