//! The owner: stopped, slow, late, or one of several.

use super::*;
use crate::model::{RunState, SocketBacklog, TaskState};

#[test]
fn an_owner_that_does_not_run_is_named_with_its_state_and_since_when() {
    for (run, words) in [
        (RunState::Stopped, "stopped by a signal"),
        (RunState::Traced, "stopped by a debugger"),
        (RunState::Uninterruptible, "uninterruptible sleep"),
        (RunState::Frozen, "frozen by its cgroup"),
    ] {
        let mut scene = Scene::new(unbounded());
        scene.run(20);
        scene.then(|queue| {
            queue.owner_runs = false;
            queue.run_state = Some(run);
        });
        scene.run(10);
        assert_eq!(scene.names(Cause::OwnerNotRunning), Confidence::High, "{}", scene.words());
        scene.says(words);
        scene.says("it last did something ");
        scene.says("run: ps -o pid,stat,wchan:32,comm -Lp 4242");
    }
}

#[test]
fn an_owner_that_its_cgroup_throttles_is_not_running() {
    let mut scene = Scene::new(unbounded());
    scene.run(20);
    scene.then(|queue| queue.visits_every_ms = 900);
    scene.alter = |sample| {
        let at = sample.at;
        let task = sample.kernel_mut().and_then(|kernel| kernel.rings[0].consumer.as_mut());
        if let Some(task) = task {
            task.throttled = Some(at.mul_f64(0.9));
        }
    };
    scene.run(15);
    scene.names(Cause::OwnerNotRunning);
    scene.says("cpu.max of its cgroup held it back 90 % of the time");
}

#[test]
fn a_pause_of_seconds_after_a_minute_of_prompt_returns_is_slowness_and_recovers() {
    // A garbage collection of 6 s.
    let mut scene = Scene::new(Queue { socket_limit: 512, ..Queue::default() });
    scene.run(60).is_calm();
    scene.then(|queue| queue.returns_per_second = 0.0).run(6);
    scene.names(Cause::SlowConsumer);
    scene.then(|queue| queue.returns_per_second = 10_000_000.0).run(20);
    assert!(scene.tracker.open().is_none(), "{}", scene.words());
    assert!(!scene.causes.contains(&Some(Cause::NeverReturned)), "{:?}", scene.causes);
}

#[test]
fn a_completion_queue_full_of_unread_completions_is_the_owners_slowness_though_the_area_is_large() {
    // 4096 of 4096 completions unread: 3 % of an area of 131072 buffers. The rest piles up in sockets.
    let mut scene = Scene::new(Queue {
        buffers: 131_072,
        refill_entries: 32_768,
        cq_entries: 4096,
        arrivals_per_second: 60_000.0,
        socket_limit: 1_000_000,
        ..Queue::default()
    });
    scene.run(5);
    // It reads a third of what arrives.
    scene.then(|queue| queue.reads_per_second = 20_000.0);
    scene.run(10);
    let unread = scene.report().vitals.placement.cq_depth;
    assert!(unread >= Some(4096 - 20), "{unread:?}");
    let first = scene.tracker.open().and_then(Episode::cause);
    assert!(matches!(first, Some(Cause::SlowConsumer | Cause::CqExhaustion)), "{}", scene.words());
    assert!(!scene.causes.contains(&Some(Cause::OwnerNotRunning)), "{:?}", scene.causes);
    assert!(!scene.words().contains("completion queue is empty"), "{}", scene.words());
    assert!(!scene.causes.contains(&Some(Cause::UnreadSocketData)), "{:?}", scene.causes);
}

#[test]
fn data_in_sockets_on_which_receives_are_armed_waits_for_a_slow_owner() {
    // The owner comes to its ring every 300 ms; an area is full after 180 ms.
    for cadence in [250, 500, 1000] {
        let mut scene = Scene::new(Queue {
            visits_every_ms: 300,
            cadence: std::time::Duration::from_millis(cadence),
            ..unbounded()
        });
        scene.run(30);
        scene.names(Cause::SlowConsumer);
        let named: Vec<Cause> = scene.causes.iter().flatten().copied().collect();
        assert!(named.iter().all(|&cause| cause == Cause::SlowConsumer), "{named:?}");
    }
}

#[test]
fn owner_that_comes_as_often_as_samples_are_taken_has_not_stopped() {
    // It comes every 2.3 s: one sample in seven finds that it was not there since the one before.
    let mut scene = Scene::new(Queue {
        buffers: 3_117,
        ring: 128,
        arrivals_per_second: 2_175.0,
        visits_every_ms: 2_300,
        cadence: std::time::Duration::from_secs(2),
        ..unbounded()
    });
    scene.run(60);
    scene.names(Cause::SlowConsumer);
    assert!(!scene.causes.contains(&Some(Cause::OwnerNotRunning)), "{:?}", scene.causes);
}

#[test]
fn data_in_sockets_without_an_armed_receive_is_unread_and_small_packets_are_named() {
    // Packets of 66 bytes: each keeps a buffer of 4 KiB.
    let mut scene = Scene::new(Queue { armed: false, packet_bytes: 66, ..unbounded() });
    scene.run(10);
    assert_eq!(scene.names(Cause::UnreadSocketData), Confidence::High, "{}", scene.words());
    scene.says("small packets: each keeps a buffer of 4096 bytes for ");
}

#[test]
fn small_packets_in_sockets_are_counted_as_buffers_and_not_by_their_bytes() {
    // The receive ring and the cache can have 640 buffers; the rest of what the kernel has is in sockets.
    let mut scene = Scene::new(Queue { armed: false, packet_bytes: 66, ..unbounded() });
    scene.run(10);
    let placement = scene.report().vitals.placement;
    assert!(placement.posted.is_some_and(|posted| posted <= 640), "{placement:?}");
    assert!(placement.sockets.is_some_and(|sockets| sockets >= 4096 - 640), "{placement:?}");
}

#[test]
fn packets_that_were_looked_at_say_how_many_buffers_are_in_sockets() {
    // Every buffer that the kernel has: none is left in the receive ring, which the count above takes for full.
    let in_sockets = |sample: &mut QueueSample| {
        let Some(kernel) = sample.kernel_mut() else { return };
        let buffers = kernel.buffers();
        if let Some(sockets) = &mut kernel.sockets {
            sockets.buffers = Some(buffers);
        }
    };
    let mut scene = Scene::altered(Queue { armed: false, packet_bytes: 66, ..unbounded() }, in_sockets);
    scene.run(10);
    let placement = scene.report().vitals.placement;
    assert_eq!((placement.posted, placement.sockets), (Some(0), placement.kernel), "{placement:?}");
}

/// Two rings share the queue; the second has all completions that are unread.
fn second_does_not_read(sample: &mut QueueSample) {
    let Some(kernel) = sample.kernel_mut() else { return };
    let mut first = kernel.rings[0].clone();
    first.id = 6;
    if let Some(cq) = &mut first.cq {
        cq.head = cq.tail;
    }
    let task = TaskState { pid: 4300, tid: 4301, comm: "importer".to_owned(), ..TaskState::default() };
    if let Some(consumer) = &mut kernel.rings[0].consumer {
        *consumer = TaskState { run: consumer.run, cpu_time: consumer.cpu_time, ..task };
    }
    kernel.rings.insert(0, first);
}

#[test]
fn of_two_rings_on_one_queue_the_one_that_does_not_read_is_named() {
    let mut scene = Scene::altered(unbounded(), second_does_not_read);
    scene.run(10).then(|queue| queue.owner_runs = false).run(10);
    scene.names(Cause::SlowConsumer);
    scene.says("of 2 rings that share the queue, ring 2 (importer[4301]) leaves ");
}

/// Two rings share the queue; data waits in the sockets of the second, whose thread is stopped.
fn second_is_stopped(sample: &mut QueueSample) {
    second_does_not_read(sample);
    let Some(kernel) = sample.kernel_mut() else { return };
    let Some(bytes) = kernel.sockets.map(|sockets| sockets.unread_bytes) else { return };
    kernel.rings[1].sockets = Some(SocketBacklog { unread_bytes: bytes, ..SocketBacklog::default() });
    if let Some(task) = &mut kernel.rings[1].consumer {
        task.run = Some(RunState::Stopped);
    }
}

#[test]
fn stopped_thread_of_one_of_two_rings_is_named_with_what_waits_for_it() {
    let mut scene = Scene::altered(Queue { socket_limit: 100_000, ..unbounded() }, |_| {});
    scene.run(5).then(|queue| queue.owner_runs = false);
    scene.alter = second_is_stopped;
    scene.run(6);
    scene.names(Cause::OwnerNotRunning);
    scene.says("of 2 rings that share the queue, ring 2 (importer[4301]) leaves ");
    scene.says(" bytes in sockets unread");
}

#[test]
fn an_importer_that_dies_with_its_buffers_is_a_leak_with_a_name_and_a_number() {
    let mut scene = Scene::altered(
        Queue { returns_per_second: 0.0, arrivals_per_second: 500.0, ..unbounded() },
        second_does_not_read,
    );
    scene.run(6);
    scene.then(|queue| {
        queue.lose_held(2_600);
        queue.returns_per_second = 10_000_000.0;
        queue.arrivals_per_second = 30_000.0;
        queue.visits_every_ms = 60;
    });
    // Its ring is gone.
    scene.alter = |sample| {
        second_does_not_read(sample);
        if let Some(kernel) = sample.kernel_mut() {
            kernel.rings.truncate(1);
        }
    };
    scene.run(15);
    scene.names(Cause::NeverReturned);
    scene.says("importer[4300] shared the queue and is gone");
    scene.says("2600 of 4096 buffers (63 %) that it held are lost");
}

#[test]
fn an_owner_that_holds_much_on_purpose_is_calm() {
    // A loader holds 63 % of the area for 20 s while no data arrives.
    let mut scene = Scene::new(Queue::default());
    scene.run(20);
    scene.then(|queue| queue.keeps = 2_580).run(1);
    scene.then(|queue| queue.arrivals_per_second = 0.0).run(20);
    scene.then(|queue| {
        queue.keeps = 0;
        queue.arrivals_per_second = 20_000.0;
    });
    scene.run(20).is_calm();
}

#[test]
fn traffic_that_pauses_or_ramps_up_while_a_healthy_owner_holds_much_is_calm() {
    let mut scene = Scene::new(Queue { arrivals_per_second: 100.0, ..Queue::default() });
    // Ramp-up after the start, into a cache.
    for step in 1..=10 {
        scene.then(|queue| {
            queue.keeps = 200 * step;
            queue.arrivals_per_second = 1_000.0 * step as f64;
        });
        scene.run(3);
    }
    for _ in 0..4 {
        scene.then(|queue| queue.arrivals_per_second = 0.0).run(15);
        scene.then(|queue| queue.arrivals_per_second = 10_000.0).run(15);
    }
    scene.is_calm();
}
