//! Snapshots that agree with netlink lose nothing; each contradiction that lasts is named, and only what it is about is hidden.

use std::time::Duration;

use super::*;
use crate::model::PoolState;

const OWN: u64 = 4_026_531_840;

fn queue() -> KernelQueue {
    KernelQueue {
        ifq: 7,
        ifindex: Some(2),
        interface: Some("eth0".to_owned()),
        netns: Some(OWN),
        queue: Some(1),
        napi_id: Some(8194),
        pool: Some(PoolState { id: 15, cache: Some(3), ring: Some(0), held: 600, released: 24 }),
        moved: Some(0),
        ..KernelQueue::default()
    }
}

fn nic() -> NicSample {
    let pool = PagePool {
        id: 15,
        ifindex: Some(2),
        napi_id: Some(8194),
        inflight: Some(570),
        ..PagePool::default()
    };
    NicSample {
        netns: Some(OWN),
        pools: vec![pool],
        names: BTreeMap::from([(2, "eth0".to_owned())]),
        listed_queues: Some(BTreeMap::from([(2, BTreeSet::from([1]))])),
        ..NicSample::default()
    }
}

fn after_some(queues: &[KernelQueue]) -> (KernelSnapshot, Vec<String>) {
    let mut source = SecondSource::default();
    let mut taken = KernelSnapshot::default();
    for second in 0..4 {
        taken = KernelSnapshot {
            began: Duration::from_secs(second),
            queues: queues.iter().cloned().map(Arc::new).collect(),
            ..KernelSnapshot::default()
        };
        source.apply(&mut taken, &nic());
    }
    (taken, source.wrong().map(ToString::to_string).collect())
}

#[test]
fn snapshot_that_agrees_is_left_alone_and_asks_no_more() {
    let others = [
        KernelQueue { ifq: 9, ..KernelQueue::default() },
        // In a namespace that cannot be looked at.
        KernelQueue { ifq: 8, netns: Some(1), ..queue() },
    ];
    let queues = [&[queue()], &others[..]].concat();
    let (taken, off) = after_some(&queues);
    assert_eq!(taken.queues.iter().map(|queue| (**queue).clone()).collect::<Vec<_>>(), queues);
    assert_eq!((taken.incomplete.len(), off.len()), (0, 0));
    let mut source = SecondSource::default();
    let mut one = KernelSnapshot { queues: vec![Arc::new(queue())], ..KernelSnapshot::default() };
    assert!(source.has_questions(&one));
    source.apply(&mut one, &nic());
    assert!(!source.has_questions(&one));
    Arc::make_mut(&mut one.queues[0]).interface = Some("lan0".to_owned());
    assert!(source.has_questions(&one), "an interface was renamed");
}

#[test]
fn what_netlink_cannot_know_is_no_contradiction() {
    // Netlink lists no queues of an interface that is down, and knows nothing of a queue without a device.
    let down = NicSample { listed_queues: Some(BTreeMap::new()), ..nic() };
    let not_listed = NicSample { listed_queues: None, ..nic() };
    let unknown_namespace = KernelQueue { ifq: 8, netns: None, ifindex: Some(77), ..queue() };
    let no_device = KernelQueue { ifq: 9, ..KernelQueue::default() };
    for nic in [down, not_listed] {
        let mut source = SecondSource::default();
        for second in 0..5 {
            let queues = [queue(), unknown_namespace.clone(), no_device.clone()];
            let mut taken = KernelSnapshot {
                began: Duration::from_secs(second),
                queues: queues.map(Arc::new).to_vec(),
                ..KernelSnapshot::default()
            };
            source.apply(&mut taken, &nic);
            assert_eq!((taken.queues.len(), taken.incomplete.len(), source.wrong().count()), (3, 0, 0));
            assert_eq!(source.has_questions(&taken), nic.listed_queues.is_none(), "asked once");
        }
    }
}

#[test]
fn queue_that_was_never_right_is_never_shown_and_one_that_was_may_be_late() {
    let mut source = SecondSource::default();
    let mut sample = |queue: KernelQueue| {
        let mut taken = KernelSnapshot { queues: vec![Arc::new(queue)], ..KernelSnapshot::default() };
        source.apply(&mut taken, &nic());
        taken.queues.len()
    };
    assert_eq!(sample(KernelQueue { queue: Some(0), ..queue() }), 0);
    assert_eq!(sample(queue()), 1);
    assert_eq!(sample(KernelQueue { queue: Some(0), ..queue() }), 1, "read at another moment");
}

#[test]
fn pool_that_moves_between_the_two_reads_is_not_judged() {
    let (mut source, mut nic) = (SecondSource::default(), nic());
    for step in 0..100 {
        let pool = PoolState { held: 24 + 300 * step, ..queue().pool.expect("it has one") };
        nic.pools[0].inflight = Some(300 * u64::from(step) + 384);
        let moving = KernelQueue { pool: Some(pool), ..queue() };
        let mut taken = KernelSnapshot { queues: vec![Arc::new(moving)], ..KernelSnapshot::default() };
        source.apply(&mut taken, &nic);
        assert!(taken.queues[0].pool.is_some() && taken.incomplete.is_empty(), "step {step}");
    }
}

#[test]
fn interface_without_a_name_gets_that_of_netlink() {
    let mut source = SecondSource::default();
    let nameless = KernelQueue { interface: None, ..queue() };
    let mut taken = KernelSnapshot { queues: vec![Arc::new(nameless)], ..KernelSnapshot::default() };
    source.apply(&mut taken, &nic());
    assert_eq!(taken.queues[0].interface.as_deref(), Some("eth0"));
}

#[test]
fn contradiction_that_lasts_is_named_and_hides_what_it_is_about() {
    let pool = queue().pool.expect("it has one");
    let cases = [
        (
            KernelQueue { queue: Some(0), ..queue() },
            "place is one of {1} of eth0, by netlink and was read as 0",
        ),
        (
            KernelQueue { ifindex: Some(500), ..queue() },
            "place is of an interface that netlink knows and was read as of interface 500",
        ),
        (
            KernelQueue { interface: Some("th0".to_owned()), ..queue() },
            "interface is eth0 by netlink and was read as th0",
        ),
        (KernelQueue { napi_id: Some(1), ..queue() }, "napi_id is 8194 by netlink and was read as 1"),
        (
            KernelQueue { pool: Some(PoolState { id: 0, ..pool }), ..queue() },
            "pool.id is a page pool of interface 2, by netlink and was read as 0",
        ),
        (
            KernelQueue { pool: Some(PoolState { held: 24, ..pool }), ..queue() },
            "pool.inflight is 570 by netlink and was read as 0",
        ),
    ];
    for (wrong, expected) in cases {
        let (taken, off) = after_some(std::slice::from_ref(&wrong));
        assert_eq!(off, [expected]);
        assert!(!taken.queues.iter().any(|queue| **queue == wrong), "{expected}");
        let loses_queue = expected.starts_with("place ");
        assert_eq!(
            (taken.queues.is_empty(), taken.incomplete.len()),
            (loses_queue, usize::from(loses_queue))
        );
    }
}
