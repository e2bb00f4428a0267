use super::*;
use crate::model::{AreaState, NicFigures, PagePool, PoolState, QueueStats, RefillState};
use crate::observe::fixture;

const AT: Duration = Duration::from_secs(1);
const NETNS: u64 = 1;

fn local(backend: BackendKind, interface: Option<&str>, queue: u32) -> ReceiveSample {
    let mut local = fixture::queue();
    local.key = QueueKey { interface: interface.map(str::to_owned), queue };
    local.selection.backend = Some(backend);
    local
}

fn on_device(ifq: u64, netns: u64) -> KernelQueue {
    KernelQueue {
        ifq,
        ifindex: Some(2),
        interface: Some("eth0".to_owned()),
        netns: Some(netns),
        queue: Some(3),
        pool: Some(PoolState { id: 17, cache: None, ring: None, held: 10, released: 0 }),
        ..KernelQueue::default()
    }
}

fn snapshot(queues: Vec<KernelQueue>) -> KernelSnapshot {
    let queues = queues.into_iter().map(Into::into).collect();
    KernelSnapshot { queues, ..KernelSnapshot::default() }
}

fn nic() -> NicSample {
    let stats = QueueStats { ifindex: 2, queue: 3, hw_drops: Some(5), ..QueueStats::default() };
    let pool = PagePool {
        id: 17,
        ifindex: Some(2),
        inflight: Some(100),
        inflight_bytes: Some(409_600),
        ..PagePool::default()
    };
    NicSample {
        netns: Some(NETNS),
        boottime: Duration::from_secs(100),
        stats: vec![stats],
        pools: vec![pool],
        rings: BTreeMap::from([(2, 512)]),
        ..NicSample::default()
    }
}

fn own_pid() -> u32 {
    std::process::id()
}

/// One without a device, of the size of the fixture's.
fn without_device(ifq: u64, pid: u32) -> KernelQueue {
    let area = AreaState { buffers: 16384, ..AreaState::default() };
    KernelQueue {
        ifq,
        owners: vec![Owner { pid, comm: "zcrxd".to_owned(), fd: None, cgroup: None }],
        refill: Some(RefillState { entries: 4096, cached_head: 0, tail: 0 }),
        areas: vec![area],
        ..KernelQueue::default()
    }
}

fn said(receive: &[ReceiveSample], queues: Vec<KernelQueue>) -> Vec<String> {
    let joined = Join::default().samples(AT, receive, Some(&snapshot(queues)), &nic());
    let mark = |is: bool, mark| if is { mark } else { "" };
    let say = |sample: &QueueSample| {
        let kernel = mark(sample.kernel.is_some(), " kernel");
        format!("{}{kernel}{}", sample.key, mark(sample.local.is_some(), " own"))
    };
    joined.iter().map(say).collect()
}

#[test]
fn an_own_queue_on_a_device_has_both_sides() {
    let device = local(BackendKind::Device, Some("eth0"), 3);
    assert_eq!(said(&[device], vec![on_device(7, 1)]), ["eth0:3 kernel own"]);
}

#[test]
fn a_renamed_interface_is_still_one_queue() {
    let renamed = KernelQueue { interface: Some("lan0".to_owned()), ..on_device(7, 1) };
    let device = ReceiveSample { ifindex: Some(2), ..local(BackendKind::Device, Some("eth0"), 3) };
    assert_eq!(said(&[device], vec![renamed]), ["eth0:3 kernel own"]);
}

#[test]
fn a_namesake_in_another_namespace_is_somebody_elses() {
    let device = local(BackendKind::Device, Some("eth0"), 3);
    assert_eq!(
        said(&[device], vec![on_device(7, 2), on_device(8, 1)]),
        ["eth0:3 kernel", "eth0~1:3 kernel own"]
    );
}

#[test]
fn an_own_queue_that_fell_back_to_copying_is_not_the_one_that_has_the_device() {
    let copy = local(BackendKind::Copy, Some("eth0"), 3);
    assert_eq!(said(&[copy], vec![on_device(7, 1)]), ["eth0:3 kernel", "eth0~1:3 own"]);
}

#[test]
fn own_queues_without_a_device_are_known_by_their_looks() {
    let nodev = |queue| local(BackendKind::Nodev, None, queue);
    assert_eq!(said(&[nodev(0)], vec![without_device(7, own_pid())]), ["software:0 kernel own"]);
    assert_eq!(
        said(&[nodev(0)], vec![without_device(7, own_pid() + 1)]),
        ["software:0 own", "software:1 kernel"],
        "another process"
    );
    assert_eq!(
        said(&[nodev(0), nodev(1)], vec![without_device(7, own_pid()), without_device(8, own_pid())]),
        ["software:0 own", "software:1 own", "software:2 kernel", "software:3 kernel"],
        "twins are not guessed at"
    );
}

#[test]
fn without_a_snapshot_own_queues_are_all_there_is() {
    let copy = local(BackendKind::Copy, None, 0);
    let joined = Join::default().samples(AT, &[copy], None, &NicSample::default());
    let [sample] = joined.as_slice() else { panic!("{joined:#?}") };
    assert_eq!((sample.kernel.is_none(), sample.buffer_bytes), (true, Some(4096)));
}

#[test]
fn a_foreign_queue_has_the_kernels_and_the_nics_figures() {
    let samples = Join::default().samples(AT, &[], Some(&snapshot(vec![on_device(7, NETNS)])), &nic());
    let [sample] = samples.as_slice() else { panic!("{samples:#?}") };
    assert_eq!((sample.nic.hw_drops, sample.nic.ring), (Some(5), Some(512)));
    assert_eq!((sample.nic.pool_inflight, sample.buffer_bytes), (Some(100), Some(4096)));
}

#[test]
fn figures_of_another_namespace_are_not_taken_for_this_ones() {
    let samples = Join::default().samples(AT, &[], Some(&snapshot(vec![on_device(7, 43)])), &nic());
    assert_eq!((samples[0].nic, samples[0].buffer_bytes), (NicFigures::default(), None));
    assert_eq!(samples[0].nic_unknown.as_deref(), Some("its network namespace was not looked at"));
}

#[test]
fn figures_of_another_namespace_are_taken_from_there() {
    let mut here = nic();
    here.elsewhere.insert(43, Ok(NicSample { netns: Some(43), ..nic() }));
    here.stats.clear();
    here.elsewhere.insert(44, Err("needs CAP_SYS_ADMIN".to_owned()));
    let queues = vec![on_device(7, 43), on_device(8, 44)];
    let samples = Join::default().samples(AT, &[], Some(&snapshot(queues)), &here);
    assert_eq!((samples[0].nic.hw_drops, &samples[0].nic_unknown), (Some(5), &None));
    assert_eq!(samples[1].nic_unknown.as_deref(), Some("needs CAP_SYS_ADMIN"));
}

#[test]
fn queue_that_the_driver_restarted_is_there_once_and_keeps_its_generation() {
    let mut join = Join::default();
    let before = join.samples(AT, &[], Some(&snapshot(vec![on_device(7, NETNS)])), &nic());
    // The old pool is detached and still has buffers in flight.
    let mut nic = nic();
    nic.pools[0].detached_at = Some(94);
    nic.pools.push(PagePool { id: 18, ifindex: Some(2), ..PagePool::default() });
    let mut restarted = on_device(7, NETNS);
    restarted.pool = Some(PoolState { id: 18, cache: None, ring: None, held: 0, released: 0 });
    let after = join.samples(AT * 2, &[], Some(&snapshot(vec![restarted])), &nic);
    let [sample] = after.as_slice() else { panic!("{after:#?}") };
    assert_eq!((&sample.key, sample.generation), (&before[0].key, before[0].generation));
    assert_eq!(sample.nic.pool_detached_for, None);
}

#[test]
fn a_pool_that_outlives_its_queue_is_told_under_the_queues_name() {
    let mut join = Join::default();
    let alive = join.samples(AT, &[], Some(&snapshot(vec![on_device(7, NETNS)])), &nic());
    let mut nic = nic();
    nic.pools[0].detached_at = Some(94);
    let gone = join.samples(AT * 2, &[], Some(&snapshot(Vec::new())), &nic);
    let [sample] = gone.as_slice() else { panic!("{gone:#?}") };
    assert_eq!((&sample.key, sample.generation), (&alive[0].key, alive[0].generation));
    assert_eq!(sample.nic.pool_detached_for, Some(Duration::from_secs(6)));
    nic.pools.clear();
    assert_eq!(join.samples(AT * 3, &[], Some(&snapshot(Vec::new())), &nic), []);
    assert!(!join.remembers_pools());
}
