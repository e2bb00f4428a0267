//! Alarms: what is a starvation, and what only looks like one.

use std::time::Duration;

use super::*;

#[test]
fn samples_far_apart_show_a_loss_that_lasts() {
    // A loaded host samples every 2.5 s; the owner returns a tenth of what arrives, for three minutes.
    let mut scene = Scene::new(Queue { cadence: Duration::from_millis(2500), ..unbounded() });
    scene.run(30).is_calm();
    scene.then(|queue| queue.returns_per_second = 2_000.0).run(180);
    assert!(matches!(scene.names(Cause::SlowConsumer), Confidence::High), "{}", scene.words());
    scene.says("DROPPING");
    assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
}

#[test]
fn queue_that_stalled_before_zcrxd_attached_is_starved() {
    // No allocation probe and no rx-alloc-fail: only a snapshot with nothing posted, and 20 000 drops a second. The driver
    // gave up while the owner was away; the owner has returned everything since.
    let mut queue = Queue { napi_restarts: false, tells_allocation: false, ..unbounded() };
    queue.owner_runs = false;
    queue.run(4);
    queue.owner_runs = true;
    let mut scene = Scene::new(queue);
    scene.run(8);
    scene.names(Cause::LazyConsumption);
    // Likewise with an owner that does not return.
    let mut scene = Scene::new(Queue { tells_allocation: false, ..unbounded() });
    scene.then(|queue| queue.returns_per_second = 1_000.0).run(12);
    scene.names(Cause::SlowConsumer);
}

#[test]
fn queue_whose_last_allocation_failed_and_that_nobody_sends_to_is_idle() {
    // A burst ends with a failed allocation; no traffic follows for a night. The area is large, the receive ring full again.
    let mut scene = Scene::new(Queue { buffers: 16_384, ..Queue::default() });
    scene.run(20);
    scene.then(|queue| queue.arrivals_per_second = 0.0);
    scene.alter = |sample| {
        // The kernel's stamp of that last failure stays.
        let allocation = sample.kernel_mut().and_then(|kernel| kernel.allocation.as_mut());
        if let Some(count) = allocation {
            count.failures += 1;
            count.starving_since = Some(Duration::from_secs(1_019));
        }
    };
    scene.run(600);
    assert!(scene.diagnosis().alarms.is_empty(), "{}", scene.words());
    assert!(!scene.has_alarm(Trouble::Stalled) && scene.tracker.open().is_none(), "{}", scene.words());
}

#[test]
fn driver_that_keeps_its_buffers_posted_starves_with_a_full_ring() {
    // bnxt_en drops a packet that it has no new buffers for; it counts no drops. The senders' retries get rarer and rarer.
    let mut queue = Queue { keeps_posted: true, tells_drops: false, ..unbounded() };
    queue.run(20);
    let mut scene = Scene::new(queue);
    scene.then(|queue| queue.leak = 1.0).run(10);
    scene.names(Cause::NeverReturned);
    scene.then(|queue| queue.arrivals_per_second = 0.02).run(300);
    assert!(!scene.diagnosis().alarms.is_empty(), "{}", scene.words());
    scene.names(Cause::NeverReturned);
}

#[test]
fn drops_that_a_driver_counts_only_as_overruns_are_drops() {
    // Without that figure five seconds of failures would pass before an alarm.
    let mut queue = unbounded();
    queue.run(20);
    let mut scene = Scene::new(queue);
    scene.alter = |sample| sample.nic.hw_drop_overruns = sample.nic.hw_drops.take();
    scene.then(|queue| queue.returns_per_second = 15_000.0).run(3);
    assert!(scene.has_alarm(Trouble::DroppingPackets), "{}", scene.words());
    scene.says(" of them for lack of a buffer");
    scene.names(Cause::SlowConsumer);
}

#[test]
fn area_with_fewer_buffers_than_the_driver_posts_at_a_time_receives_nothing() {
    let mut scene = Scene::new(Queue { buffers: 31, ring: 1024, step: 32, ..Queue::default() });
    scene.run(10);
    scene.names(Cause::AreaTooSmall);
    scene.says("nothing arrives: all 31 buffers are with the NIC and the page pool");
    let mut enough = Scene::new(Queue { buffers: 2048, ring: 1024, step: 32, ..Queue::default() });
    enough.run(10);
    assert!(!enough.report().troubled(), "{}", enough.words());
}

#[test]
fn verdict_of_a_starving_queue_names_pause_frames() {
    const WORDS: &str = "ethtool -A eth0 autoneg off tx off";
    let mut queue = unbounded();
    queue.run(20);
    let mut scene = Scene::new(queue);
    scene.alter = |sample| sample.nic.pauses = Some(true);
    scene.run(10);
    assert!(!scene.words().contains(WORDS), "the queue is well: {}", scene.words());
    scene.then(|queue| queue.leak = 1.0).run(10);
    scene.names(Cause::NeverReturned);
    scene.says(WORDS);
    scene.alter = |sample| sample.nic.pauses = Some(false);
    scene.run(1);
    assert!(!scene.words().contains(WORDS), "the NIC drops: {}", scene.words());
}

#[test]
fn losses_in_short_moments_seconds_apart_are_one_problem() {
    // Every 4 s a burst twice as large as the area arrives: a third of all packets is lost, within milliseconds.
    for cadence in [500, 1000] {
        let mut scene = Scene::new(Queue {
            buffers: 700,
            arrivals_per_second: 400.0,
            bursts: Some(1_600),
            socket_limit: 100_000,
            cadence: Duration::from_millis(cadence),
            ..Queue::default()
        });
        scene.run(60);
        assert!(scene.has_alarm(Trouble::DroppingPackets), "{}", scene.words());
        scene.says("it was without a buffer");
        scene.says(" % of the time");
        scene.names(Cause::AreaTooSmall);
        assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
    }
}

#[test]
fn a_starvation_of_milliseconds_in_every_tenth_of_a_second_does_not_flap() {
    for cadence in [970, 1000, 1030] {
        let mut scene = Scene::new(Queue {
            buffers: 700,
            arrivals_per_second: 10_000.0,
            bursts: Some(1_000),
            socket_limit: 100_000,
            cadence: Duration::from_millis(cadence),
            ..Queue::default()
        });
        scene.run(60);
        assert!(scene.has_alarm(Trouble::DroppingPackets), "{}", scene.words());
        assert_eq!(scene.episodes(), 1, "{:#?}", scene.events);
        let first = scene.causes.iter().flatten().next().copied();
        assert!(scene.causes.iter().flatten().all(|&cause| Some(cause) == first), "{:?}", scene.causes);
    }
}

#[test]
fn periodic_starvation_that_beats_with_the_sampling_is_judged_by_what_lies_between_samples() {
    // The owner comes once a second, takes all, and returns all; each sample falls right after that, when it holds nothing.
    let mut scene = Scene::new(Queue {
        visits_every_ms: 1000,
        arrivals_per_second: 8_000.0,
        cadence: Duration::from_secs(1),
        ..unbounded()
    });
    scene.run(30);
    scene.names(Cause::SlowConsumer);
    assert!(
        scene.diagnosis().causes.iter().all(|found| found.cause != Cause::AreaTooSmall),
        "{}",
        scene.words()
    );
}

#[test]
fn a_problem_is_dated_from_its_begin_and_not_from_the_begin_of_the_window() {
    let mut scene = Scene::new(unbounded());
    scene.run(10);
    scene.then(|queue| queue.returns_per_second = 2_000.0).run(300);
    let alarm = &scene.diagnosis().alarms[0];
    let lasted = scene.report().at.saturating_sub(alarm.since);
    assert!(lasted >= Duration::from_secs(290), "{alarm:?}");
    let begin = format!("{} 5 min: ", alarm.trouble.headline());
    assert!(scene.report().verdict.line.starts_with(&begin), "{begin:?} is missing in: {}", scene.words());
}

#[test]
fn entries_of_a_healed_completion_queue_are_forgotten() {
    // Receives ended with ENOSPC minutes ago and were armed again; one byte lies unread in a socket.
    let mut scene =
        Scene::new(Queue { cq_entries: 32, bursts: Some(300), socket_limit: 400, ..Queue::default() });
    scene.run(4);
    scene.then(|queue| {
        queue.cq_entries = 8192;
        queue.bursts = None;
    });
    scene.run(30);
    scene.then(|queue| queue.arrivals_per_second = 0.0);
    scene.alter = |sample| {
        if let Some(backlog) = sample.kernel_mut().and_then(|kernel| kernel.sockets.as_mut()) {
            backlog.unread_bytes = 1;
        }
    };
    scene.run(180);
    assert!(scene.diagnosis().alarms.is_empty() && scene.diagnosis().causes.is_empty(), "{}", scene.words());
    scene.says("eth0:3 OK");
    assert!(!scene.words().contains("cause"), "{}", scene.words());
}

#[test]
fn interface_that_is_taken_down_is_named_and_comes_back_by_itself() {
    let mut scene = Scene::new(Queue::default());
    scene.run(10);
    scene.then(|queue| queue.interface_down = true).run(10);
    scene.names(Cause::InterfaceDown);
    scene.says("comes back by itself");
    assert!(!scene.words().contains("close the sockets"), "{}", scene.words());
    scene.then(|queue| queue.interface_down = false).run(10);
    assert!(scene.tracker.open().is_none(), "{}", scene.words());
}
