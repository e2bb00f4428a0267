//! Forecasts and recommended sizes.

use super::*;

#[test]
fn a_healthy_saw_tooth_is_not_foretold_to_starve() {
    // Buffers pile up for 12 s and come back within 3 s.
    let mut scene = Scene::new(Queue { buffers: 8_192, arrivals_per_second: 200.0, ..Queue::default() });
    for _ in 0..12 {
        scene.then(|queue| queue.returns_per_second = 0.0).run(12);
        scene.then(|queue| queue.returns_per_second = 10_000_000.0).run(3);
    }
    // The first tooth is a rise like any other.
    let foretold = scene.lines.iter().skip(60).filter(|line| line.contains("starves in")).count();
    assert_eq!(foretold, 0, "{:#?}", scene.lines);
}

#[test]
fn a_rise_that_goes_on_is_foretold() {
    let mut scene = Scene::new(Queue {
        buffers: 16_384,
        arrivals_per_second: 5_000.0,
        returns_per_second: 4_900.0,
        ..Queue::default()
    });
    scene.run(20);
    assert!(scene.foretold(), "{}", scene.words());
}

#[test]
fn an_owner_that_does_not_run_gets_no_size_advice() {
    let mut scene = Scene::new(unbounded());
    scene.run(20);
    scene.then(|queue| {
        queue.owner_runs = false;
        queue.run_state = Some(crate::model::RunState::Stopped);
    });
    scene.run(10);
    assert!(matches!(scene.forecast().sizes, Answer::Unknown(_)), "{}", scene.words());
    scene.says("sizes for this load unknown: ");
}

#[test]
fn idle_connections_do_not_ask_for_millions_of_buffers() {
    // Ten thousand sockets of 6 MB each receive nothing; the queue has lost a burst once.
    let mut scene = Scene::altered(
        Queue { buffers: 700, bursts: Some(900), socket_limit: 2_000, ..Queue::default() },
        |sample| {
            if let Some(backlog) = sample.kernel_mut().and_then(|kernel| kernel.sockets.as_mut()) {
                backlog.sockets = 10_000;
                backlog.limit_bytes = 60_000_000_000;
            }
        },
    );
    scene.run(20);
    let sizes = *scene.forecast().sizes.known().unwrap_or_else(|| panic!("{}", scene.words()));
    assert!(sizes.area_buffers <= 16 * 700, "{sizes:?}");
}

#[test]
fn receive_ring_larger_than_the_area_is_known_at_the_first_sample() {
    let mut scene =
        Scene::new(Queue { buffers: 600, ring: 512, arrivals_per_second: 0.0, ..Queue::default() });
    scene.queue.start(|sample| drop(scene.tracker.feed(sample)));
    scene.says("the receive ring of 512 buffers and the page pool's cache of 128 can take all 600 buffers");
    scene.says("use an area of more than 640 buffers, or a smaller ring (ethtool -G eth0 rx N)");
    assert!(!scene.report().troubled());
    let mut roomy = Scene::new(Queue { buffers: 641, ring: 512, ..Queue::default() });
    roomy.queue.start(|sample| drop(roomy.tracker.feed(sample)));
    assert!(roomy.report().verdict.notes.is_empty(), "{}", roomy.words());
}
