//! Refill entries and copies: bad ones, and counters that another use of the ring blurs.

use super::*;

#[test]
fn bad_entries_beside_other_completions_are_bad_entries() {
    let mut scene = Scene::new(Queue { bad_entries: 0.3, other_completions: 20_000.0, ..Queue::default() });
    scene.run(15);
    assert_eq!(scene.names(Cause::BadEntries), Confidence::High, "{}", scene.words());
}

#[test]
fn bad_entries_beside_a_few_shared_buffers_are_bad_entries() {
    let mut scene = Scene::altered(Queue { bad_entries: 0.3, ..Queue::default() }, |sample| {
        // A few buffers have several references.
        if let Some(area) = sample.kernel_mut().and_then(|kernel| kernel.areas.first_mut()) {
            area.user_references = area.user_references.map(|references| references + 5);
        }
    });
    scene.run(15);
    assert_eq!(scene.names(Cause::BadEntries), Confidence::High, "{}", scene.words());
}

#[test]
fn a_few_bad_entries_in_a_hundred_are_named_from_the_first_and_do_not_flip() {
    for share in [0.03, 0.06, 0.1] {
        let mut scene = Scene::new(Queue { bad_entries: share, ..Queue::default() });
        scene.run(40);
        scene.names(Cause::BadEntries);
        let named: Vec<Cause> = scene.causes.iter().flatten().copied().collect();
        assert!(named.iter().all(|&cause| cause == Cause::BadEntries), "{share}: {named:?}");
    }
}

#[test]
fn copies_that_nothing_counts_and_sends_on_the_ring_are_no_bad_entries() {
    // Linux 6.16 and 6.17: no probe counts copies. The freelist is empty, copies fail, and the ring sends too.
    let mut scene = Scene::new(Queue {
        copied: 0.5,
        buffers: 640,
        bursts: Some(300),
        tells_copies: false,
        other_completions: 10_000.0,
        ..Queue::default()
    });
    scene.run(20);
    scene.names(Cause::CopyFallback);
    let causes = &scene.diagnosis().causes;
    assert!(causes.iter().all(|found| found.cause != Cause::BadEntries), "{}", scene.words());
}

/// An owner that flushes its refill ring, so that copies find buffers.
fn copying() -> Queue {
    Queue { copied: 1.0, flushes_every_ms: 5, ..Queue::default() }
}

#[test]
fn a_foreign_queue_whose_data_is_all_copied_says_why_and_what_it_costs() {
    let mut scene = Scene::altered(copying(), |sample| {
        // The NIC counts nothing on this queue: the flows arrive on others.
        sample.nic.rx_bytes = Some(1_000);
    });
    scene.run(20);
    scene.names(Cause::NoZeroCopy);
    scene.says("the flows arrive on other queues");
    scene.says(" % of one CPU");
    let mut scene = Scene::altered(copying(), |sample| {
        sample.nic.rx_bytes = sample.received_bytes;
    });
    scene.run(20);
    scene.says("the payload arrives on this queue and is not placed in its area: header split");
}

#[test]
fn contributions_of_all_causes_add_up_to_the_whole_at_most() {
    for queue in [
        Queue { returns_per_second: 2_000.0, leak: 0.05, ..unbounded() },
        Queue { leak: 1.0, ..Queue::default() },
        Queue { armed: false, ..unbounded() },
        Queue { bad_entries: 0.2, leak: 0.02, ..Queue::default() },
    ] {
        let mut scene = Scene::new(queue);
        scene.run(20);
        let sum: f64 = scene.diagnosis().causes.iter().map(|found| found.effect).sum();
        assert!(sum <= 1.0 + 1e-9 && sum > 0.0, "{sum}: {}", scene.words());
    }
}

#[test]
fn figures_that_moved_while_they_were_read_are_doubted() {
    // Samples under heavy traffic: held, pending and references disagree by up to 44 % of the area.
    let mut sure = Scene::new(Queue { returns_per_second: 2_000.0, ..unbounded() });
    sure.run(15);
    assert_eq!(sure.names(Cause::SlowConsumer), Confidence::High);
    let mut scene = Scene::new(Queue { returns_per_second: 2_000.0, moved: 3_300, ..unbounded() });
    scene.run(15);
    let confidence = scene.names(Cause::SlowConsumer);
    assert!(confidence < Confidence::High, "{}", scene.words());
    scene.says("3300 buffers moved while the sample was read");
    for moved in [500, 1_800] {
        let mut healthy = Scene::new(Queue { moved, ..Queue::default() });
        healthy.run(120).is_calm();
    }
    // A leak shows once it is larger than the error.
    let mut leaky = Scene::new(Queue { buffers: 16_384, moved: 800, leak: 0.005, ..Queue::default() });
    leaky.run(120);
    leaky.names(Cause::NeverReturned);
}

#[test]
fn allocation_counts_that_are_read_later_than_the_ring_are_no_bad_entries() {
    // A loaded host reads the probe's counts 200 ms after the snapshot, in one sample of six. Packets lie in sockets for a while.
    let queue = Queue {
        buffers: 171,
        ring: 128,
        arrivals_per_second: 1_000.0,
        bursts: Some(180),
        late: 0.15,
        refill_entries: 256,
        cq_entries: 512,
        ..Queue::default()
    };
    let mut scene = Scene::altered(queue, |sample| {
        let at = sample.at;
        let count = sample.kernel_mut().and_then(|kernel| kernel.allocation.as_mut());
        if let Some(count) = count.filter(|_| at.as_millis() % 3000 == 0) {
            count.consumed += 240;
            count.buffers += 204;
        }
    });
    for _ in 0..40 {
        scene.run(1);
        let mut causes = scene.diagnosis().causes.iter();
        assert!(causes.all(|found| found.cause != Cause::BadEntries), "{}", scene.words());
    }
    scene.names(Cause::AreaTooSmall);
}
