//! What netlink tells of queues: the driver's counts, the ring, the page pool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{KernelQueue, KernelSnapshot, MemoryProvider, NicFigures, PagePool, QueueStats};
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
    pub(super) fn sees(&self, queue: &KernelQueue) -> bool {
        queue.netns.is_none() || queue.netns == self.netns
    }

    pub(super) fn pool(&self, id: u32) -> Option<&PagePool> {
        self.pools.iter().find(|pool| pool.id == u64::from(id))
    }

    pub(super) fn figures(&self, queue: &KernelQueue) -> NicFigures {
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

    pub(super) fn pool_figures(&self, pool: &PagePool) -> NicFigures {
        let detached = pool.detached_at.map(Duration::from_secs);
        NicFigures {
            pool_inflight: pool.inflight,
            pool_detached_for: detached.map(|detached| self.boottime.saturating_sub(detached)),
            ..NicFigures::default()
        }
    }
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

    #[test]
    fn reading_works_without_queues_and_privileges() {
        let sample = NicSample::read(&mut Netlink::new(), None);
        assert!(sample.boottime > Duration::ZERO && sample.stats.is_empty());
    }
}
