//! Diagnoses that concern no single cause.

use std::collections::BTreeMap;
use std::time::Duration;

use super::queue_model::Queue;
use super::*;
use crate::model::{
    BackendKind, BacklogStatistics, Cause, QueueKey, QueueSample, QueueState, ReceiveSample, RingStatistics,
    Selection, Trouble,
};

/// A synthetic local queue of 4096 buffers that returns 1000 a second.
fn local(second: u64, held: u64, stashed: u64) -> QueueSample {
    let key = QueueKey { interface: None, queue: 0 };
    let returned = 10_000 + second * 1_000;
    let local = ReceiveSample {
        ifindex: None,
        key: key.clone(),
        selection: Selection { backend: Some(BackendKind::Copy), refused: Vec::new() },
        state: QueueState::Running,
        state_reason: String::new(),
        listen: Vec::new(),
        sink: "forward".to_owned(),
        sink_destination: Some("10.0.0.9:7000".to_owned()),
        area_bytes: 4096 * 4096,
        buffer_bytes: 4096,
        buffers: 4096,
        dispensed: returned + held,
        reclaimed: 0,
        returned,
        stashed,
        refill_capacity: 64,
        refill_depth: 0,
        cq_capacity: 1024,
        cq_depth: 12,
        cq_overflows: 0,
        bytes: returned * 4096,
        copied_bytes: None,
        zcrx: None,
        completions: returned + held,
        errors: BTreeMap::new(),
        accept_errors: BTreeMap::new(),
        sink_errors: BTreeMap::new(),
        rearms: 0,
        starvations: Some(second * 50),
        starving: Some(held > 4_000),
        accepted: 1,
        connections: 1,
        verified_bytes: 0,
        mismatched_bytes: 0,
        workers: Vec::new(),
        ring: None,
    };
    QueueSample { local: Some(Box::new(local)), ..QueueSample::unknown(key, 1, Duration::from_secs(second)) }
}

/// A queue of zcrxd's own whose connections are all paused, because its destination does not read.
pub(super) fn paused(seconds: u64) -> History {
    let mut history = History::new(120);
    for second in 1..=seconds {
        let mut sample = local(1, 300, 0);
        sample.at = Duration::from_secs(second);
        if let Some(local) = &mut sample.local {
            let backlog = BacklogStatistics {
                held: 300,
                paused: 1,
                copy_out_bytes: 64 << 20,
                ..BacklogStatistics::default()
            };
            local.ring = Some(RingStatistics { backlog, ..RingStatistics::default() });
        }
        history.push(sample);
    }
    history
}

fn window(samples: impl Iterator<Item = QueueSample>) -> History {
    let mut window = History::new(120);
    samples.for_each(|sample| window.push(sample));
    window
}

fn causes(diagnosis: &Diagnosis) -> Vec<Cause> {
    diagnosis.causes.iter().map(|finding| finding.cause).collect()
}

#[test]
fn two_causes_at_once_are_named_in_the_order_of_their_effect() {
    let mostly_slow = diagnose(&window((1..9).map(|second| local(second, 4_090, 1_200))));
    assert_eq!(causes(&mostly_slow), [Cause::SlowConsumer, Cause::RefillRingFull], "{mostly_slow:#?}");
    assert_eq!(mostly_slow.alarms.first().map(|alarm| alarm.trouble), Some(Trouble::Starving));
    let mostly_full = diagnose(&window((1..9).map(|second| local(second, 4_090, 2_800))));
    assert_eq!(causes(&mostly_full), [Cause::RefillRingFull, Cause::SlowConsumer], "{mostly_full:#?}");
}

#[test]
fn without_figures_the_cause_is_unknown_and_the_figures_are_named() {
    let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
    let mut window = History::new(120);
    queue.run_with(8, |sample| {
        let bare = QueueSample::unknown(sample.key.clone(), 1, sample.at);
        window.push(QueueSample { nic: sample.nic, ..bare });
    });
    let diagnosis = diagnose(&window);
    assert_eq!(diagnosis.alarms.first().map(|alarm| alarm.trouble), Some(Trouble::DroppingPackets));
    assert_eq!(causes(&diagnosis), []);
    assert!(
        diagnosis.missing.iter().any(|missing| missing.starts_with("what user space holds")),
        "{diagnosis:?}"
    );
    let report = Report::of(&window, None).expect("samples");
    let mut text = String::new();
    write_report(&mut text, &report, &|_| None).expect("a String takes everything");
    assert!(text.contains("cause: unknown"), "{text}");
}

#[test]
fn one_sample_says_nothing_and_does_not_fail() {
    let diagnosis = diagnose(&window([local(1, 4_090, 0)].into_iter()));
    assert_eq!(diagnosis.alarms, []);
    assert_eq!(diagnose(&History::new(3)), Diagnosis::default());
}

#[test]
fn report_begins_with_one_line_and_says_what_to_run_and_to_change() {
    let mut queue = Queue { leak: 1.0, ..Queue::default() };
    let report = Report::of(&queue.run(28), None).expect("samples");
    let mut text = String::new();
    write_report(&mut text, &report, &|_| None).expect("a String takes everything");
    let first = text.lines().next().unwrap_or_default();
    assert!(first.starts_with("eth0:3 STARVED 2"), "{text}");
    assert!(first.ends_with(": 0 of 4096 buffers free; 4096 held by model[4242]; 0 B/s"), "{text}");
    assert!(
        text.contains("\n  cause: Never returned (leak) (E), confidence high, 100 % of the problem"),
        "{text}"
    );
    assert!(text.contains("of 4096 buffers ("), "{text}");
    assert!(text.contains("\n    run: cat /proc/4242/stack"), "{text}");
    assert!(text.contains("\n    do: a bug of the application"), "{text}");
}

#[test]
fn report_says_whose_it_is_where_the_buffers_are_and_since_when() {
    let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
    let mut report = Report::of(&queue.run(8), None).expect("samples");
    report.owner_cgroup = Some("/system.slice/ingest.service".to_owned());
    let mut text = String::new();
    write_report(&mut text, &report, &|_| Some("14:03:59 UTC".to_owned()))
        .expect("a String takes everything");
    let second = text.lines().nth(1).unwrap_or_default();
    assert_eq!(second, "  owner: model, pid 4242, /system.slice/ingest.service, since 14:03:59 UTC");
    assert!(text.contains("\n  of 4096 buffers: "), "{text}");
    assert!(text.contains(" held by the application, "), "{text}");
    assert!(text.contains("\n  a second: ") && text.contains(" packets dropped"), "{text}");
}

#[test]
fn a_queue_that_has_just_recovered_is_not_said_to_be_well() {
    let mut tracker = Tracker::new(120);
    let mut queue = Queue { returns_per_second: 2_000.0, ..Queue::default() };
    queue.run_with(8, |sample| drop(tracker.feed(sample)));
    queue.returns_per_second = 10_000_000.0;
    queue.arrivals_per_second = 100.0;
    let mut recovered = None;
    queue.run_with(8, |sample| {
        tracker.feed(sample);
        let report = Report::of_tracker(&tracker).expect("samples");
        if report.diagnosis.alarms.is_empty() && report.episode.is_some() {
            recovered.get_or_insert(report);
        }
    });
    let report = recovered.expect("a calm that has not lasted yet");
    assert!(report.troubled());
    let mut text = String::new();
    write_report(&mut text, &report, &|_| None).expect("a String takes everything");
    assert!(text.starts_with("eth0:3 RECOVERING, "), "{text}");
    assert!(text.contains("  cause: Slow consumer"), "{text}");
}
