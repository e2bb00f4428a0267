//! Figures of queues from netlink: the driver's counters, the receive ring, the page pool.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::kernel::clock;
use crate::model::{KernelQueue, KernelSnapshot, MemoryProvider, NicFigures, PagePool, QueueStats, RxQueue};
use crate::net::{self, Driver, NetError, Netlink, own_namespace};

/// Figures of queues from netlink.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NicSample {
    /// Inode of the network namespace that [`Self::stats`], [`Self::pools`] and [`Self::rings`] are of.
    pub netns: Option<u64>,
    /// CLOCK_BOOTTIME when it was read: what the detach time of a pool is measured by.
    pub boottime: Duration,
    /// What drivers count for each queue.
    pub stats: Vec<QueueStats>,
    /// Page pools.
    pub pools: Vec<PagePool>,
    /// Sizes of the ring that payload buffers are posted in, by interface index, descriptors.
    pub rings: BTreeMap<u32, u32>,
    /// Whether interfaces send pause frames, by interface index. Absent where the driver knows no flow control.
    pub pauses: BTreeMap<u32, bool>,
    /// What is known of the drivers, by interface index.
    pub drivers: BTreeMap<u32, Driver>,
    /// Samples of other network namespaces with queues, by inode; or why zcrxd could not read one.
    pub elsewhere: BTreeMap<u64, Result<Self, String>>,
    /// Names of these interfaces, by index.
    pub names: BTreeMap<u32, String>,
    /// Of each interface of the namespace that is up, the queues that zcrx feeds; `None` where queues were not listed.
    pub listed_queues: Option<BTreeMap<u32, BTreeSet<u32>>>,
    /// Requests that failed, other than for what the driver or the kernel does not offer.
    pub failed_requests: u32,
}

impl NicSample {
    /// Reads it, for the interfaces of the kernel's queues. What cannot be read is left out.
    ///
    /// Other network namespaces are entered for it, on a thread that ends there: that needs CAP_SYS_ADMIN. No socket
    /// is kept open in them, since it would keep them alive.
    /// With `lists_queues` the queues that zcrx feeds are listed: that takes an answer for each queue of the namespace.
    pub fn read(netlink: &mut Netlink, snapshot: Option<&KernelSnapshot>, lists_queues: bool) -> Self {
        let queues = snapshot.map(|snapshot| snapshot.queues.as_slice()).unwrap_or_default();
        let netns = own_namespace().ok().map(|namespace| namespace.inode);
        let (here, there): (Vec<_>, Vec<_>) =
            queues.iter().partition(|queue| namespace(queue).is_none() || namespace(queue) == netns);
        let mut sample = Self { netns, ..Self::read_here(netlink, &interfaces(&here), lists_queues) };
        let inodes: BTreeSet<u64> = there.iter().filter_map(|queue| namespace(queue)).collect();
        for inode in inodes {
            let of: Vec<_> = there.iter().copied().filter(|queue| namespace(queue) == Some(inode)).collect();
            sample.elsewhere.insert(inode, Self::read_there(inode, &of, lists_queues));
        }
        sample
    }

    /// In the namespace that the calling thread is in.
    fn read_here(netlink: &mut Netlink, interfaces: &BTreeSet<u32>, lists_queues: bool) -> Self {
        let mut sample = Self::default();
        for &ifindex in interfaces {
            // Payload is posted in a ring of its own on bnxt and fbnic; `rx` is the completion ring there.
            let rings = sample.known(netlink.rings(ifindex));
            if let Some(ring) = rings.and_then(|rings| rings.payload()) {
                sample.rings.insert(ifindex, ring);
            }
            if let Some(pause) = sample.known(netlink.pause(ifindex)) {
                sample.pauses.insert(ifindex, pause.tx);
            }
            sample.names.extend(net::interface_name(ifindex).map(|name| (ifindex, name)));
            sample.drivers.insert(ifindex, net::driver_of(ifindex));
            let stats = sample.known(netlink.queue_stats(Some(ifindex)));
            sample.stats.extend(stats.unwrap_or_default());
        }
        if lists_queues {
            sample.listed_queues = sample.known(netlink.queues(None)).map(zcrx_queues);
        }
        sample.pools = sample.known(netlink.page_pools()).unwrap_or_default();
        sample.boottime = clock::boottime();
        sample
    }

    /// What the kernel answered; counts a request that failed.
    fn known<T>(&mut self, answer: Result<T, NetError>) -> Option<T> {
        answer.inspect_err(|error| self.failed_requests += u32::from(!error.is_lack())).ok()
    }

    /// Whether a request failed, here or in another network namespace, or such a namespace could not be entered.
    pub(super) fn failed(&self) -> bool {
        self.failed_requests > 0
            || self
                .elsewhere
                .values()
                .any(|sample| sample.as_ref().is_ok_and(Self::failed) || sample.is_err())
    }

    fn read_there(inode: u64, queues: &[&Arc<KernelQueue>], lists_queues: bool) -> Result<Self, String> {
        let pids = queues.iter().flat_map(|queue| &queue.owners).map(|owner| owner.pid);
        let path = net::way_into(inode, pids).ok_or_else(|| {
            format!(
                "no way into network namespace {inode}: none of the owners that can be looked at lives in it"
            )
        })?;
        let interfaces = interfaces(queues);
        let look = || Self::read_here(&mut Netlink::new(), &interfaces, lists_queues);
        match net::inside(&path, look) {
            Ok(sample) => Ok(Self { netns: Some(inode), ..sample }),
            Err(error) if error.is_permission() => {
                Err(format!("entering network namespace {inode} needs CAP_SYS_ADMIN"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The sample of the network namespace of the queue's interface. In another namespace the same index is another interface.
    pub(super) fn of(&self, queue: &KernelQueue) -> Result<&Self, &str> {
        match namespace(queue) {
            Some(netns) if self.netns != Some(netns) => match self.elsewhere.get(&netns) {
                Some(sample) => sample.as_ref().map_err(String::as_str),
                None => Err("its network namespace was not looked at"),
            },
            _ => Ok(self),
        }
    }

    pub(super) fn pool(&self, id: u32) -> Option<&PagePool> {
        self.pools.iter().find(|pool| pool.id == u64::from(id))
    }

    /// Figures of one queue. Call it on the sample of the queue's namespace ([`Self::of`]).
    pub(super) fn figures(&self, queue: &KernelQueue) -> NicFigures {
        let place = device(queue).zip(hardware_queue(queue));
        let stats = self.stats.iter().find(|stats| Some((stats.ifindex, stats.queue)) == place);
        let pool = queue.pool.and_then(|pool| self.pool(pool.id));
        let driver = device(queue).and_then(|ifindex| self.drivers.get(&ifindex));
        NicFigures {
            rx_bytes: stats.and_then(|stats| stats.bytes),
            alloc_fail: stats.and_then(|stats| stats.alloc_fail),
            hw_drops: stats.and_then(|stats| stats.hw_drops),
            hw_drop_overruns: stats.and_then(|stats| stats.hw_drop_overruns),
            keeps_posted: driver.is_some_and(Driver::keeps_posted),
            posting_step: driver.map_or(0, |driver| driver.posting_step),
            pauses: device(queue).and_then(|ifindex| self.pauses.get(&ifindex)).copied(),
            ring: device(queue).and_then(|ifindex| self.rings.get(&ifindex)).copied(),
            ..pool.map(|pool| self.pool_figures(pool)).unwrap_or_default()
        }
    }

    pub(super) fn pool_figures(&self, pool: &PagePool) -> NicFigures {
        let detached = pool.detached_at.map(Duration::from_secs);
        NicFigures {
            pool_inflight: pool.inflight,
            pool_detached_for: detached.map(|detached| self.boottime.saturating_sub(detached)),
            ..NicFigures::default()
        }
    }
}

fn interfaces(queues: &[&Arc<KernelQueue>]) -> BTreeSet<u32> {
    queues.iter().filter_map(|queue| device(queue)).collect()
}

/// The device whose hardware serves the queue: of a leased queue the physical one.
pub(super) fn device(queue: &KernelQueue) -> Option<u32> {
    queue.physical.as_ref().map_or(queue.ifindex, |physical| physical.ifindex)
}

/// The hardware queue of that device.
pub(super) fn hardware_queue(queue: &KernelQueue) -> Option<u32> {
    queue.physical.as_ref().map_or(queue.queue, |physical| physical.queue)
}

/// The network namespace of that device.
pub(super) fn namespace(queue: &KernelQueue) -> Option<u64> {
    queue.physical.as_ref().map_or(queue.netns, |physical| physical.netns)
}

/// By interface, the queues that zcrx feeds.
fn zcrx_queues(all: Vec<RxQueue>) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut queues: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for queue in all {
        let of_interface = queues.entry(queue.ifindex).or_default();
        if matches!(queue.provider, Some(MemoryProvider::IoUring { .. })) {
            of_interface.insert(queue.id);
        }
    }
    queues
}

/// What a buffer of the pool has, by what is in flight or by what was asked for at registration.
pub(super) fn buffer_bytes(pool: &PagePool) -> Option<u64> {
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
    use crate::model::PhysicalQueue;

    #[test]
    fn reading_works_without_queues_and_privileges() {
        let sample = NicSample::read(&mut Netlink::new(), None, true);
        assert!(sample.boottime > Duration::ZERO && sample.stats.is_empty());
    }

    #[test]
    fn a_leased_queue_has_the_figures_of_the_physical_device() {
        let physical = PhysicalQueue { ifindex: Some(2), netns: Some(1), queue: Some(5), interface: None };
        let leased = KernelQueue {
            ifindex: Some(9),
            netns: Some(77),
            queue: Some(0),
            physical: Some(physical),
            ..KernelQueue::default()
        };
        let stats = QueueStats {
            ifindex: 2,
            queue: 5,
            hw_drops: Some(3),
            hw_drop_overruns: Some(2),
            ..QueueStats::default()
        };
        let here = NicSample { netns: Some(1), stats: vec![stats], ..NicSample::default() };
        let figures = here.of(&leased).map(|sample| sample.figures(&leased));
        let drops = figures.map(|figures| (figures.hw_drops, figures.hw_drop_overruns));
        assert_eq!(drops, Ok((Some(3), Some(2))));
    }

    #[test]
    fn a_namespace_without_a_way_in_says_so() {
        let queue = KernelQueue { netns: Some(1), ifindex: Some(2), ..KernelQueue::default() };
        let snapshot = KernelSnapshot { queues: vec![queue.clone().into()], ..KernelSnapshot::default() };
        let sample = NicSample::read(&mut Netlink::new(), Some(&snapshot), true);
        assert!(sample.of(&queue).is_err_and(|reason| reason.contains("no way into network namespace 1")));
    }
}
