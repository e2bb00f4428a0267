//! Situations with random sizes, loads, bursts and sampling intervals: the right answer must not depend on them.

use std::time::Duration;

use super::*;
use crate::diagnose::accuracy::random::Random;
use crate::diagnose::accuracy::situations::healthy;
use crate::model::RunState;

/// Random queues that each situation is played with.
const VARIATIONS: u64 = 5;

/// A queue that keeps up, all of whose figures are known.
fn known(random: &mut Random) -> Queue {
    Queue { tells_owner: true, tells_armed: true, tells_drops: true, late: 0.0, ..healthy(random) }
}

/// Plays a situation with random queues. Those before a failure are in the output of the test.
fn varied(seed: u64, play: impl Fn(&mut Random, Queue)) {
    for number in 0..VARIATIONS {
        let mut random = Random::new(seed, number);
        let queue = known(&mut random);
        eprintln!("variation {number}: {queue:?}");
        play(&mut random, queue);
    }
}

/// Time in which the load takes the whole area, milliseconds.
fn fills_in(queue: &Queue) -> f64 {
    queue.buffers as f64 / queue.arrivals_per_second * 1000.0
}

/// A queue whose senders do not wait.
fn unbounded(queue: Queue) -> Queue {
    Queue { socket_limit: queue.buffers * 4, ..queue }
}

impl Scene {
    fn named(&self) -> Vec<Cause> {
        self.causes.iter().flatten().copied().collect()
    }
}

#[test]
fn owner_that_pauses_for_seconds_after_prompt_returns_is_no_leak() {
    varied(5, |random, queue| {
        let mut scene = Scene::new(queue);
        scene.run(60).is_calm();
        let pause = random.whole(2, 8);
        scene.then(|queue| queue.returns_per_second = 0.0).run(pause);
        scene.then(|queue| queue.returns_per_second = 10_000_000.0).run(40);
        assert!(!scene.causes.contains(&Some(Cause::NeverReturned)), "{:?}", scene.causes);
        assert!(scene.tracker.open().is_none(), "{}", scene.words());
    });
}

#[test]
fn losses_in_moments_seconds_apart_are_one_episode_of_a_small_area() {
    varied(7, |random, queue| {
        let buffers = queue.ring + 128 + random.whole(1, queue.ring / 4);
        let lost = random.between(0.1, 0.5);
        let burst = (buffers as f64 / (1.0 - lost)) as u64;
        let mut scene = Scene::new(Queue {
            buffers,
            bursts: Some(burst),
            arrivals_per_second: burst as f64 / random.between(3.0, 9.0),
            hold_ms: 0,
            return_batch: 1,
            fragments: 1,
            socket_limit: burst * 2,
            cadence: queue.cadence.min(Duration::from_secs(2)),
            ..queue
        });
        scene.run(120);
        assert!(scene.has_alarm(Trouble::DroppingPackets), "{}", scene.words());
        scene.says("it was without a buffer");
        scene.names(Cause::AreaTooSmall);
        assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
    });
}

#[test]
fn queue_that_recovered_and_is_idle_then_has_no_alarm() {
    varied(6, |random, queue| {
        let stopped = queue.arrivals_per_second;
        let mut scene = Scene::new(unbounded(queue));
        scene.run(10);
        scene.then(|queue| queue.returns_per_second = queue.arrivals_per_second * 0.1);
        scene.run(random.whole(3, 20));
        scene.then(|queue| {
            queue.returns_per_second = 10_000_000.0;
            queue.arrivals_per_second = 0.0;
        });
        scene.run(60);
        assert!(scene.diagnosis().alarms.is_empty() && scene.tracker.open().is_none(), "{}", scene.words());
        let episodes = scene.episodes();
        scene.run(120).then(|queue| queue.arrivals_per_second = stopped).run(30);
        assert_eq!(scene.episodes(), episodes, "{:#?}", scene.events);
    });
}

#[test]
fn leak_after_a_refill_ring_that_was_full_once_is_a_leak() {
    varied(9, |random, queue| {
        let refill_entries = (queue.buffers / 8).next_power_of_two();
        let mut scene = Scene::new(Queue { refill_entries, return_batch: 1, fragments: 1, ..queue });
        scene.then(|queue| queue.return_batch = refill_entries + refill_entries / 4).run(5);
        // What it keeps from then on lets the ring run empty.
        scene.then(|queue| (queue.return_batch, queue.keeps) = (1, refill_entries * 3 / 2));
        scene.run(random.whole(120, 300));
        let seconds = random.between(10.0, 40.0);
        scene.then(|queue| {
            queue.leak = (queue.buffers as f64 / queue.arrivals_per_second / seconds).clamp(0.002, 1.0);
        });
        scene.run(80);
        scene.names(Cause::NeverReturned);
    });
}

#[test]
fn receives_that_failed_and_were_armed_again_are_forgotten() {
    varied(10, |random, queue| {
        let cq_entries = queue.cq_entries;
        let mut scene =
            Scene::new(Queue { cq_entries: 32, bursts: Some(300), socket_limit: 400, fragments: 1, ..queue });
        scene.run(random.whole(3, 20));
        scene.then(|queue| {
            queue.cq_entries = cq_entries;
            queue.bursts = None;
        });
        scene.run(40).then(|queue| queue.arrivals_per_second = 0.0);
        scene.alter = |sample| {
            if let Some(backlog) = sample.kernel_mut().and_then(|kernel| kernel.sockets.as_mut()) {
                backlog.unread_bytes = 1;
            }
        };
        scene.run(150);
        assert!(scene.diagnosis().alarms.is_empty() && scene.tracker.open().is_none(), "{}", scene.words());
        assert!(!scene.words().contains("cause"), "{}", scene.words());
    });
}

#[test]
fn starvation_during_which_the_driver_restarts_is_one_episode() {
    varied(19, |random, queue| {
        let mut scene = Scene::new(unbounded(Queue { return_batch: 1, hold_ms: 0, ..queue }));
        scene.run(10);
        scene.then(|queue| queue.returns_per_second = queue.arrivals_per_second * 0.3).run(20);
        if scene.queue.ledger().packets_lost == 0 {
            return;
        }
        let every = random.whole(2, 8);
        for _ in 0..10 {
            scene.then(Queue::reset).run(every);
        }
        assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
        scene.names(Cause::SlowConsumer);
        scene.says("the driver restarted the receive queue, ");
    });
}

#[test]
fn receives_that_fail_seconds_apart_are_one_episode() {
    varied(20, |random, queue| {
        let missteered_per_second = 1.0 / random.between(2.0, 9.0);
        let mut scene = Scene::new(Queue { missteered_per_second, ..queue });
        scene.run(200);
        assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
        scene.names(Cause::MissteeredFlow);
    });
}

#[test]
fn owner_that_enters_the_kernel_no_more_is_not_running() {
    varied(4, |random, queue| {
        let mut scene = Scene::new(unbounded(queue));
        scene.run(random.whole(6, 40)).is_calm();
        scene.then(|queue| queue.visits_every_ms = 1 << 40);
        let fills = (fills_in(&scene.queue) / 1000.0) as u64;
        scene.run(fills + 5 + 6 * scene.queue.cadence.as_secs());
        scene.names(Cause::OwnerNotRunning);
        scene.says("the owner has not entered its ring for ");
        assert!(!scene.words().contains("arm a receive"), "{}", scene.words());
    });
}

#[test]
fn owner_that_seldom_comes_to_its_ring_is_slow_and_nothing_else() {
    varied(26, |random, queue| {
        let mut scene = Scene::new(unbounded(Queue { hold_ms: 0, ..queue }));
        scene.run(6);
        let every = fills_in(&scene.queue) * random.between(1.5, 4.0);
        scene.then(|queue| queue.visits_every_ms = (every as u64).min(1_500));
        scene.run(60);
        if scene.queue.ledger().packets_lost == 0 {
            return;
        }
        scene.names(Cause::SlowConsumer);
        let named = scene.named();
        assert!(named.iter().all(|&cause| cause == Cause::SlowConsumer), "{named:?}");
    });
}

#[test]
fn stopped_owner_is_named_and_its_end_is_seen() {
    varied(40, |random, queue| {
        let mut scene = Scene::new(unbounded(queue));
        scene.run(random.whole(2, 30));
        let state = random.of(&[RunState::Stopped, RunState::Traced, RunState::Frozen]);
        scene.then(|queue| (queue.owner_runs, queue.run_state) = (false, Some(state)));
        let fills = (fills_in(&scene.queue) / 1000.0) as u64;
        scene.run(fills + 5 + 4 * scene.queue.cadence.as_secs());
        assert_eq!(scene.names(Cause::OwnerNotRunning), Confidence::High, "{}", scene.words());
        scene.says("sizes for this load unknown: ");
        scene.then(|queue| (queue.owner_runs, queue.run_state) = (true, None)).run(40);
        assert!(scene.tracker.open().is_none(), "{}", scene.words());
    });
}

#[test]
fn interface_that_goes_down_and_up_needs_no_socket_closed() {
    varied(30, |random, queue| {
        let mut scene = Scene::new(queue);
        scene.run(10);
        scene.then(|queue| queue.interface_down = true);
        scene.run(random.whole(4, 20) + 3 * scene.queue.cadence.as_secs());
        scene.names(Cause::InterfaceDown);
        assert!(!scene.words().contains("close the sockets"), "{}", scene.words());
        scene.then(|queue| queue.interface_down = false).run(20);
        assert!(scene.tracker.open().is_none(), "{}", scene.words());
        assert!(scene.named().iter().all(|&cause| cause == Cause::InterfaceDown), "{:?}", scene.named());
    });
}

#[test]
fn slowness_that_becomes_a_leak_is_a_leak_in_the_end() {
    varied(28, |random, queue| {
        let mut scene = Scene::new(Queue { hold_ms: 0, return_batch: 1, fragments: 1, ..unbounded(queue) });
        scene.run(10);
        scene.then(|queue| queue.returns_per_second = queue.arrivals_per_second * 0.4);
        let fills = (fills_in(&scene.queue) / 1000.0) as u64;
        scene.run(fills * 3 + 15);
        if scene.queue.ledger().packets_lost == 0 {
            return;
        }
        scene.names(Cause::SlowConsumer);
        scene.then(|queue| queue.leak = 1.0).run(random.whole(40, 60));
        scene.names(Cause::NeverReturned);
        scene.says(" the cause changed from slow_consumer to never_returned: ");
        assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
    });
}

#[test]
fn owner_that_returns_all_at_once_every_few_seconds_is_slow_and_no_leak() {
    for number in 0..40 {
        let mut random = Random::new(48, number);
        let buffers = random.whole(300, 1_500);
        let hold = random.whole(1_500, 3_500);
        let mut scene = Scene::new(unbounded(Queue {
            buffers,
            ring: random.of(&[32, 64, 128]),
            hold_ms: hold,
            bursts: random.chance(0.5).then(|| random.whole(50, 300)),
            // After a return it takes a while until it holds much again.
            arrivals_per_second: buffers as f64 * random.between(0.6, 20.0),
            cadence: Duration::from_millis(random.of(&[500, 970, 1_000, 1_030])),
            ..Queue::default()
        }));
        scene.run(50);
        // Until the first buffer comes back it looks like one that returns none.
        let named: Vec<Cause> =
            scene.named().into_iter().skip_while(|&cause| cause == Cause::NeverReturned).collect();
        if scene.queue.ledger().packets_lost > 0 {
            assert!(named.contains(&Cause::SlowConsumer), "{number}: hold {hold} ms, {}", scene.words());
        }
        assert!(!named.contains(&Cause::NeverReturned), "{number}: hold {hold} ms, {named:?}");
    }
}
