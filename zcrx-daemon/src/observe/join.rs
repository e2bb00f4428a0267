//! Joins the figures of each queue in one sample: the owner's, the kernel's and the NIC's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::identity::{Identities, Life};
use super::nic::{NicSample, buffer_bytes};
use super::process::cgroup_of;
use crate::model::{
    BackendKind, CopyCount, KernelQueue, KernelSnapshot, Owner, QueueKey, QueueSample, ReceiveSample,
    RunState,
};

/// The sources that know a queue.
#[derive(Clone, Copy)]
enum Seen<'a> {
    ByKernel(&'a KernelQueue, Option<&'a ReceiveSample>),
    ByItself(&'a ReceiveSample),
}

/// The queue that a page pool serves or served.
#[derive(Debug)]
struct PoolOwner {
    ifq: u64,
    key: QueueKey,
    generation: u64,
    owner: Option<Owner>,
}

/// Joins the figures of each queue in one sample, and remembers the queues.
#[derive(Debug, Default)]
pub struct Join {
    identities: Identities,
    /// The queue of each page pool: a pool may outlive its queue.
    pools: BTreeMap<u32, PoolOwner>,
}

impl Join {
    /// Returns one sample of each queue, and of each page pool whose queue is gone.
    pub fn samples(
        &mut self,
        at: Duration,
        receive: &[ReceiveSample],
        snapshot: Option<&KernelSnapshot>,
        nic: &NicSample,
    ) -> Vec<QueueSample> {
        let kernel = snapshot.map(|snapshot| snapshot.queues.as_slice()).unwrap_or_default();
        let seen = lay_side_by_side(receive, kernel, nic.netns);
        let names = self.identities.name(seen.iter().map(life).collect());
        let mut samples: Vec<_> = seen
            .iter()
            .zip(names)
            .map(|(seen, (key, generation))| sample(seen, QueueSample::unknown(key, generation, at), nic))
            .collect();
        for sample in &samples {
            if let Some(kernel) = &sample.kernel
                && let Some(pool) = kernel.pool
            {
                let (key, owner) = (sample.key.clone(), sample.owner.clone());
                let whose = PoolOwner { ifq: kernel.ifq, key, generation: sample.generation, owner };
                self.pools.insert(pool.id, whose);
            }
        }
        samples.extend(self.left_behind(at, kernel, nic));
        samples
    }

    /// Whether zcrxd must read page pools although no queue exists: detached pools remain.
    pub(super) fn remembers_pools(&self) -> bool {
        !self.pools.is_empty()
    }

    /// Samples of detached pools whose queue is gone and was sampled before. If the queue still exists with another pool, the driver
    /// has restarted it, and the queue's sample counts its buffers. Forgets pools that are gone.
    fn left_behind(&mut self, at: Duration, kernel: &[KernelQueue], nic: &NicSample) -> Vec<QueueSample> {
        let lives = |id| kernel.iter().any(|queue| queue.pool.is_some_and(|pool| pool.id == id));
        self.pools.retain(|id, _| lives(*id) || nic.pool(*id).is_some());
        let restarted = |whose: &PoolOwner| kernel.iter().any(|queue| queue.ifq == whose.ifq);
        let gone = self.pools.iter().filter(|(id, whose)| !lives(**id) && !restarted(whose));
        gone.filter_map(|(id, PoolOwner { key, generation, owner, .. })| {
            let pool = nic.pool(*id).filter(|pool| pool.detached_at.is_some())?;
            Some(QueueSample {
                owner: owner.clone(),
                nic: nic.pool_figures(pool),
                ..QueueSample::unknown(key.clone(), *generation, at)
            })
        })
        .collect()
    }
}

/// Pairs local queues with the kernel's, in the order in which they get names.
fn lay_side_by_side<'a>(
    receive: &'a [ReceiveSample],
    kernel: &'a [KernelQueue],
    netns: Option<u64>,
) -> Vec<Seen<'a>> {
    let here = Whereabouts { pid: std::process::id(), netns };
    let mut unmatched: Vec<&ReceiveSample> = receive.iter().collect();
    let mut seen = Vec::new();
    for queue in kernel {
        let local = local_of(queue, kernel, &unmatched, here);
        unmatched.retain(|other| local.is_none_or(|local| local.key != other.key));
        seen.push(Seen::ByKernel(queue, local));
    }
    seen.extend(unmatched.into_iter().map(Seen::ByItself));
    // A queue with a device has the device's name. Among queues without one, local queues keep their configured number.
    seen.sort_by_key(|seen| match seen {
        Seen::ByKernel(queue, _) if queue.ifindex.is_some() => 0,
        Seen::ByKernel(_, Some(_)) | Seen::ByItself(_) => 1,
        Seen::ByKernel(_, None) => 2,
    });
    seen
}

/// Process and network namespace of zcrxd, by which it recognises its local queues in the snapshot.
#[derive(Clone, Copy)]
struct Whereabouts {
    /// Process id, in the namespace that the snapshot's owners use.
    pid: u32,
    /// Inode of its network namespace, where that can be read.
    netns: Option<u64>,
}

/// Finds the local queue that is `queue` in the kernel.
fn local_of<'r>(
    queue: &KernelQueue,
    kernel: &[KernelQueue],
    local: &[&'r ReceiveSample],
    here: Whereabouts,
) -> Option<&'r ReceiveSample> {
    let on = |local: &ReceiveSample, backend| local.selection.backend == Some(backend);
    if let (Some(interface), Some(index)) = (&queue.interface, queue.queue) {
        // A hardware queue has one provider: if an own queue has it, this is that one.
        // By the interface's index where that is known: its name may have changed since the registration.
        let same_interface = |local: &ReceiveSample| match (local.ifindex, queue.ifindex) {
            (Some(local), Some(kernel)) => local == kernel,
            _ => local.key.interface.as_ref() == Some(interface),
        };
        let same = |local: &&&ReceiveSample| {
            on(local, BackendKind::Device) && same_interface(local) && local.key.queue == index
        };
        return local
            .iter()
            .find(same)
            .copied()
            .filter(|_| queue.netns.is_none() || queue.netns == here.netns);
    }
    // Without a device only the sizes identify a queue; if two queues have the same sizes, neither is matched.
    let mine = |queue: &KernelQueue| queue.owners.iter().any(|owner| owner.pid == here.pid);
    let looks = |local: &ReceiveSample, queue: &KernelQueue| {
        on(local, BackendKind::Nodev)
            && local.buffers == queue.buffers()
            && queue.refill.is_some_and(|refill| refill.entries == local.refill_capacity)
    };
    if !mine(queue) || queue.ifindex.is_some() {
        return None;
    }
    let mut alike = local.iter().filter(|local| looks(local, queue));
    let found = alike.next()?;
    let twins = kernel.iter().filter(|other| mine(other) && looks(found, other)).count();
    (alike.next().is_none() && twins == 1).then_some(*found)
}

fn life(seen: &Seen<'_>) -> (Life, QueueKey) {
    match *seen {
        Seen::ByItself(local) => (Life::Local(local.key.clone()), local.key.clone()),
        Seen::ByKernel(queue, local) => {
            let life = Life::Kernel { ifq: queue.ifq };
            (life, local.map_or_else(|| name(queue), |local| local.key.clone()))
        }
    }
}

/// The process that a queue belongs to: the one whose thread works for its first ring. After a fork others hold the ring too; the thread
/// may have exited, and then the lowest process id is most likely the parent's.
fn owner(queue: &KernelQueue) -> Option<&Owner> {
    let consumer = queue.rings.first().and_then(|ring| ring.consumer.as_ref());
    let working = consumer.filter(|consumer| consumer.run != Some(RunState::Exited));
    let of_thread = working.and_then(|consumer| queue.owners.iter().find(|owner| owner.pid == consumer.pid));
    of_thread.or_else(|| queue.owners.iter().min_by_key(|owner| owner.pid))
}

fn name(queue: &KernelQueue) -> QueueKey {
    let unnamed = || queue.ifindex.map(|ifindex| format!("interface{ifindex}"));
    QueueKey { interface: queue.interface.clone().or_else(unnamed), queue: queue.queue.unwrap_or(0) }
}

fn sample(seen: &Seen<'_>, unknown: QueueSample, nic: &NicSample) -> QueueSample {
    let local = |local: &ReceiveSample| (Some(local.buffer_bytes), Some(local.clone()));
    let oldest_held = |local: &Option<ReceiveSample>| local.as_ref()?.ring?.oldest_held;
    match *seen {
        Seen::ByItself(by_itself) => {
            let (buffer_bytes, local) = local(by_itself);
            let pid = std::process::id();
            let owner = Some(Owner { pid, comm: "zcrxd".to_owned(), fd: None, cgroup: None });
            QueueSample {
                oldest_held: oldest_held(&local),
                owner,
                owner_cgroup: cgroup_of(pid),
                buffer_bytes,
                local,
                ..unknown
            }
        }
        Seen::ByKernel(queue, matched) => {
            let (by_itself, local) = matched.map_or((None, None), local);
            let nic = nic.of(queue);
            let pool = queue.pool.and_then(|pool| nic.ok()?.pool(pool.id));
            let owner = owner(queue).cloned();
            QueueSample {
                owner_cgroup: owner.as_ref().and_then(|owner| cgroup_of(owner.pid)),
                owner,
                buffer_bytes: by_itself.or(queue.buffer_bytes.map(u64::from)).or_else(|| buffer_bytes(pool?)),
                kernel: Some(queue.clone()),
                oldest_held: oldest_held(&local),
                local,
                nic: nic.map(|nic| nic.figures(queue)).unwrap_or_default(),
                nic_unknown: nic.err().map(str::to_owned),
                received_bytes: queue.delivery.as_ref().map(|count| count.bytes),
                copies: queue.fallback.map(|count| CopyCount { calls: count.buffers, bytes: count.bytes }),
                errors: queue.delivery.as_ref().map(|count| count.errors.clone()),
                ..unknown
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            pool: Some(PoolState { id: 17, cache: None, held: 10, released: 0 }),
            ..KernelQueue::default()
        }
    }

    fn snapshot(queues: Vec<KernelQueue>) -> KernelSnapshot {
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
            elsewhere: BTreeMap::new(),
            netns: Some(NETNS),
            boottime: Duration::from_secs(100),
            stats: vec![stats],
            pools: vec![pool],
            rings: BTreeMap::from([(2, 512)]),
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
        restarted.pool = Some(PoolState { id: 18, cache: None, held: 0, released: 0 });
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
}
