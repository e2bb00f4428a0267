//! Joins what the sources say of each queue into one sample of it: the owner's own figures, the kernel's, the NIC's.
//!
//! Each source has its own name for a queue. The kernel's address of it, its page pool and its owner together are one
//! life; own queues are found among the kernel's by interface, index and process.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{
    KernelQueue, KernelSnapshot, MemoryProvider, NicFigures, Owner, PagePool, QueueKey, QueueSample,
    QueueStats, ReceiveSample,
};
use crate::net::{Netlink, own_namespace};

/// What netlink tells of the queues of this network namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NicSample {
    /// Inode of the network namespace; figures of queues in others are not to be had from here.
    pub netns: Option<u64>,
    /// CLOCK_BOOTTIME when it was read: what the detach time of a pool is measured by.
    pub boottime: Duration,
    /// What drivers count for each queue.
    pub stats: Vec<QueueStats>,
    /// Page pools.
    pub pools: Vec<PagePool>,
    /// Receive ring sizes by interface index, descriptors.
    pub rings: BTreeMap<u32, u32>,
}

impl NicSample {
    /// Reads it, for the interfaces of the kernel's queues. What cannot be read is left out.
    pub fn read(netlink: &mut Netlink, snapshot: Option<&KernelSnapshot>) -> Self {
        let queues = snapshot.map(|snapshot| snapshot.queues.as_slice()).unwrap_or_default();
        let netns = own_namespace().ok().map(|namespace| namespace.inode);
        let mut sample = Self { netns, ..Self::default() };
        let here = queues.iter().filter(|queue| sample.sees(queue));
        let interfaces: BTreeSet<u32> = here.filter_map(|queue| queue.ifindex).collect();
        for ifindex in interfaces {
            if let Some(ring) = netlink.rings(ifindex).ok().and_then(|rings| rings.rx) {
                sample.rings.insert(ifindex, ring);
            }
            sample.stats.extend(netlink.queue_stats(Some(ifindex)).unwrap_or_default());
        }
        sample.pools = netlink.page_pools().unwrap_or_default();
        let boottime = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        sample.boottime = boottime.map(Duration::from).unwrap_or_default();
        sample
    }

    /// Whether the queue's interface is in this namespace: elsewhere, the same index is another interface.
    fn sees(&self, queue: &KernelQueue) -> bool {
        queue.netns.is_none() || queue.netns == self.netns
    }

    fn pool(&self, id: u32) -> Option<&PagePool> {
        self.pools.iter().find(|pool| pool.id == u64::from(id))
    }

    fn figures(&self, queue: &KernelQueue) -> NicFigures {
        if !self.sees(queue) {
            return NicFigures::default();
        }
        let place = queue.ifindex.zip(queue.queue);
        let stats = self.stats.iter().find(|stats| Some((stats.ifindex, stats.queue)) == place);
        let pool = queue.pool.and_then(|pool| self.pool(pool.id));
        NicFigures {
            rx_bytes: stats.and_then(|stats| stats.bytes),
            alloc_fail: stats.and_then(|stats| stats.alloc_fail),
            hw_drops: stats.and_then(|stats| stats.hw_drops),
            ring: queue.ifindex.and_then(|ifindex| self.rings.get(&ifindex)).copied(),
            ..pool.map(|pool| self.pool_figures(pool)).unwrap_or_default()
        }
    }

    fn pool_figures(&self, pool: &PagePool) -> NicFigures {
        let detached = pool.detached_at.map(Duration::from_secs);
        NicFigures {
            pool_inflight: pool.inflight,
            pool_detached_for: detached.map(|detached| self.boottime.saturating_sub(detached)),
            ..NicFigures::default()
        }
    }
}

/// What makes a life of a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    /// The kernel may use an address again, but hardly with the same pool and process.
    Kernel { ifq: u64, pool: Option<u32>, pid: Option<u32> },
    /// A queue that the kernel does not know, or that no snapshot shows.
    Own(QueueKey),
}

/// Remembers which lives there are.
#[derive(Default)]
pub struct Join {
    generations: u64,
    lives: BTreeMap<Identity, u64>,
    /// By page pool, whose it was: a pool may outlive its queue.
    pools: BTreeMap<u32, (QueueKey, u64, Option<Owner>)>,
}

impl Join {
    /// One sample of each queue there is, and of each page pool whose queue is gone.
    pub fn samples(
        &mut self,
        at: Duration,
        receive: &[ReceiveSample],
        snapshot: Option<&KernelSnapshot>,
        nic: &NicSample,
    ) -> Vec<QueueSample> {
        let own_pid = std::process::id();
        let kernel = snapshot.map(|snapshot| snapshot.queues.as_slice()).unwrap_or_default();
        let mut lives = BTreeMap::new();
        let mut samples = Vec::new();
        let mut joined = Vec::new();
        for queue in kernel {
            let own = receive.iter().find(|own| is_same(own, queue, own_pid));
            joined.extend(own.map(|own| &own.key));
            let identity = Identity::Kernel {
                ifq: queue.ifq,
                pool: queue.pool.map(|pool| pool.id),
                pid: queue.owners.first().map(|owner| owner.pid),
            };
            let generation = self.generation(&identity);
            lives.insert(identity, generation);
            let sample = self.sample(at, generation, queue, own, nic);
            samples.push(sample);
        }
        for own in receive.iter().filter(|own| !joined.contains(&&own.key)) {
            let identity = Identity::Own(own.key.clone());
            let generation = self.generation(&identity);
            lives.insert(identity, generation);
            samples.push(QueueSample {
                buffer_bytes: Some(own.buffer_bytes),
                own: Some(own.clone()),
                ..QueueSample::unknown(own.key.clone(), generation, at)
            });
        }
        self.lives = lives;
        samples.extend(self.left_behind(at, kernel, nic));
        samples
    }

    fn generation(&mut self, identity: &Identity) -> u64 {
        self.lives.get(identity).copied().unwrap_or_else(|| {
            self.generations += 1;
            self.generations
        })
    }

    fn sample(
        &mut self,
        at: Duration,
        generation: u64,
        queue: &KernelQueue,
        own: Option<&ReceiveSample>,
        nic: &NicSample,
    ) -> QueueSample {
        let key = own.map_or_else(|| key_of(queue), |own| own.key.clone());
        let owner = queue.owners.first().cloned();
        if let Some(pool) = queue.pool {
            self.pools.insert(pool.id, (key.clone(), generation, owner.clone()));
        }
        let pool = queue.pool.filter(|_| nic.sees(queue)).and_then(|pool| nic.pool(pool.id));
        QueueSample {
            owner,
            buffer_bytes: own.map(|own| own.buffer_bytes).or_else(|| buffer_bytes(pool?)),
            kernel: Some(queue.clone()),
            own: own.cloned(),
            nic: nic.figures(queue),
            ..QueueSample::unknown(key, generation, at)
        }
    }

    /// Pools that are detached, and whose queue was seen while it lived. Pools that are gone are forgotten.
    fn left_behind(&mut self, at: Duration, kernel: &[KernelQueue], nic: &NicSample) -> Vec<QueueSample> {
        let lives = |id| kernel.iter().any(|queue| queue.pool.is_some_and(|pool| pool.id == id));
        self.pools.retain(|id, _| lives(*id) || nic.pool(*id).is_some());
        let gone = self.pools.iter().filter(|(id, _)| !lives(**id));
        gone.filter_map(|(id, (key, generation, owner))| {
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

/// Whether the kernel's queue is this own one. Without a device there is nothing to go by but the size.
fn is_same(own: &ReceiveSample, queue: &KernelQueue, own_pid: u32) -> bool {
    let ours = queue.owners.iter().any(|owner| owner.pid == own_pid);
    let place = match &own.key.interface {
        Some(interface) => queue.interface.as_ref() == Some(interface) && queue.queue == Some(own.key.queue),
        None => queue.ifindex.is_none() && queue.buffers() == own.buffers,
    };
    ours && place
}

/// The name of a foreign queue: without a device, which of its ring's queues it is.
fn key_of(queue: &KernelQueue) -> QueueKey {
    let interface = queue.interface.clone().or_else(|| queue.ifindex.map(|ifindex| format!("if{ifindex}")));
    QueueKey { interface, queue: queue.queue.or(queue.zcrx_id).unwrap_or(0) }
}

/// What a buffer of the pool has, by what is in flight or by what was asked for at registration.
fn buffer_bytes(pool: &PagePool) -> Option<u64> {
    let asked = match pool.provider {
        Some(MemoryProvider::IoUring { rx_buf_len }) => rx_buf_len.filter(|&length| length > 0),
        _ => None,
    };
    let counted = || pool.inflight_bytes?.checked_div(pool.inflight?);
    asked.or_else(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AreaState, PoolState};
    use crate::observe::fixture;

    fn foreign(ifq: u64, pool: u32, pid: u32) -> KernelQueue {
        KernelQueue {
            ifq,
            ifindex: Some(7),
            interface: Some("eth0".to_owned()),
            netns: Some(42),
            queue: Some(3),
            owners: vec![Owner { pid, comm: "other".to_owned(), fd: Some(5), cgroup: None }],
            areas: vec![AreaState { buffers: 16384, free: 0, user_buffers: None, user_references: None }],
            pool: Some(PoolState { id: pool, cache: None, held: 10, released: 0 }),
            ..KernelQueue::default()
        }
    }

    fn snapshot(queues: Vec<KernelQueue>) -> KernelSnapshot {
        KernelSnapshot { queues, ..KernelSnapshot::default() }
    }

    fn nic() -> NicSample {
        let stats = QueueStats { ifindex: 7, queue: 3, hw_drops: Some(5), ..QueueStats::default() };
        let pool = PagePool {
            id: 17,
            ifindex: Some(7),
            inflight: Some(100),
            inflight_bytes: Some(409_600),
            ..PagePool::default()
        };
        NicSample {
            netns: Some(42),
            boottime: Duration::from_secs(100),
            stats: vec![stats],
            pools: vec![pool],
            rings: BTreeMap::from([(7, 512)]),
        }
    }

    const AT: Duration = Duration::from_secs(1);

    #[test]
    fn a_foreign_queue_has_the_kernels_and_the_nics_figures() {
        let samples = Join::default().samples(AT, &[], Some(&snapshot(vec![foreign(1, 17, 99)])), &nic());
        let [sample] = samples.as_slice() else { panic!("{samples:#?}") };
        assert_eq!(sample.key.to_string(), "eth0:3");
        assert_eq!(sample.owner.as_ref().map(|owner| owner.pid), Some(99));
        assert_eq!((sample.nic.hw_drops, sample.nic.ring), (Some(5), Some(512)));
        assert_eq!((sample.nic.pool_inflight, sample.buffer_bytes), (Some(100), Some(4096)));
    }

    #[test]
    fn an_own_queue_is_one_sample_with_both_views() {
        let queue = foreign(1, 17, std::process::id());
        let samples = Join::default().samples(AT, &[fixture::queue()], Some(&snapshot(vec![queue])), &nic());
        let [sample] = samples.as_slice() else { panic!("{samples:#?}") };
        assert!(sample.own.is_some() && sample.kernel.is_some());
        let samples = Join::default().samples(
            AT,
            &[fixture::queue()],
            Some(&snapshot(vec![foreign(1, 17, 99)])),
            &nic(),
        );
        assert_eq!(samples.len(), 2, "the same place, but another process");
    }

    #[test]
    fn without_a_snapshot_own_queues_are_still_there() {
        let samples = Join::default().samples(AT, &[fixture::queue()], None, &NicSample::default());
        let [sample] = samples.as_slice() else { panic!("{samples:#?}") };
        assert_eq!((sample.kernel.is_none(), sample.buffer_bytes), (true, Some(4096)));
    }

    #[test]
    fn a_life_keeps_its_generation_and_the_next_one_has_another() {
        let mut join = Join::default();
        let mut generation =
            |queue| join.samples(AT, &[], Some(&snapshot(vec![queue])), &nic())[0].generation;
        let first = generation(foreign(1, 17, 99));
        assert_eq!(generation(foreign(1, 17, 99)), first);
        assert_ne!(generation(foreign(1, 18, 99)), first, "the address is used again");
    }

    #[test]
    fn figures_of_another_namespace_are_not_taken_for_this_ones() {
        let elsewhere = KernelQueue { netns: Some(43), ..foreign(1, 17, 99) };
        let samples = Join::default().samples(AT, &[], Some(&snapshot(vec![elsewhere])), &nic());
        assert_eq!(samples[0].nic, NicFigures::default());
    }

    #[test]
    fn a_pool_that_outlives_its_queue_is_told_under_the_queues_name() {
        let mut join = Join::default();
        let alive = join.samples(AT, &[], Some(&snapshot(vec![foreign(1, 17, 99)])), &nic());
        let mut nic = nic();
        nic.pools[0].detached_at = Some(94);
        let gone = join.samples(AT * 2, &[], Some(&snapshot(Vec::new())), &nic);
        let [sample] = gone.as_slice() else { panic!("{gone:#?}") };
        assert_eq!((&sample.key, sample.generation), (&alive[0].key, alive[0].generation));
        assert_eq!(sample.nic.pool_detached_for, Some(Duration::from_secs(6)));
        nic.pools.clear();
        assert_eq!(join.samples(AT * 3, &[], Some(&snapshot(Vec::new())), &nic), []);
        assert!(join.pools.is_empty());
    }

    #[test]
    fn reading_works_without_queues_and_privileges() {
        let sample = NicSample::read(&mut Netlink::new(), None);
        assert!(sample.boottime > Duration::ZERO && sample.stats.is_empty());
    }
}
