//! Episodes: one per problem, with the cause of now and the history of it.

use super::*;

#[test]
fn errors_seconds_apart_are_one_episode() {
    // A receive ends with EFAULT every 8 s.
    let mut scene = Scene::new(Queue { missteered_per_second: 0.125, ..Queue::default() });
    scene.run(180);
    assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
    scene.names(Cause::MissteeredFlow);
}

#[test]
fn resets_of_the_driver_during_a_starvation_are_one_episode() {
    // The driver restarts the hardware queue every 4 s: the ring is full again for a moment.
    let mut scene = Scene::new(Queue { returns_per_second: 2_000.0, ..unbounded() });
    scene.run(8);
    for _ in 0..20 {
        scene.then(Queue::reset).run(4);
    }
    assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
    scene.names(Cause::SlowConsumer);
    scene.says("the driver restarted the receive queue, 20 times so far");
}

#[test]
fn a_slowness_that_becomes_a_leak_has_the_cause_of_now_and_its_history() {
    let mut scene = Scene::new(Queue { socket_limit: 512, ..Queue::default() });
    scene.run(10);
    scene.then(|queue| queue.returns_per_second = 5_000.0).run(20);
    scene.names(Cause::SlowConsumer);
    scene.then(|queue| queue.leak = 1.0).run(30);
    scene.names(Cause::NeverReturned);
    scene.says(" the cause changed from slow_consumer to never_returned: ");
    assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
}

#[test]
fn buffers_that_came_back_to_a_nic_that_does_not_ask_change_the_cause() {
    let mut scene = Scene::new(Queue { napi_restarts: false, ..unbounded() });
    scene.run(10).then(|queue| queue.returns_per_second = 2_000.0).run(10);
    scene.then(|queue| queue.returns_per_second = 10_000_000.0).run(10);
    scene.names(Cause::LazyConsumption);
}

#[test]
fn the_first_cause_does_not_flicker() {
    // A slow owner that also lost a third of the area, samples at any phase of its work.
    for cadence in [230, 500, 1000, 1700] {
        let mut scene = Scene::new(Queue {
            hold_ms: 400,
            leak: 0.004,
            cadence: std::time::Duration::from_millis(cadence),
            socket_limit: 512,
            ..Queue::default()
        });
        scene.run(60);
        let named: Vec<Cause> = scene.causes.iter().flatten().copied().collect();
        let changes = named.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 1, "{cadence}: {named:?}");
    }
}

#[test]
fn a_queue_on_which_nothing_is_wrong_has_no_cause() {
    let mut scene = Scene::new(Queue { returns_per_second: 2_000.0, ..unbounded() });
    scene.run(10);
    scene.then(|queue| {
        queue.returns_per_second = 10_000_000.0;
        queue.arrivals_per_second = 100.0;
    });
    for _ in 0..30 {
        scene.run(1);
        let words = scene.words();
        let calm = scene.lines.last().is_some_and(|line| line.starts_with("OK"));
        assert!(!(calm && words.contains("cause: ")), "{words}");
        assert_eq!(calm, !scene.report().troubled(), "{words}");
    }
    assert!(!scene.report().troubled());
}
