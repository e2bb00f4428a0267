//! Queues, page pools and queue statistics: the `netdev` netlink family (Linux 6.8 and later).

use netlink_bindings::netdev::{
    self, IterablePagePool, IterablePagePoolStats, IterableQstats, IterableQueue,
};

use super::netlink::uint;
use super::{NetError, Netlink};
use crate::model::{MemoryProvider, PagePool, PagePoolStats, QueueStats, RxQueue};

/// `NETDEV_QUEUE_TYPE_RX`.
const RX: u32 = 0;
/// `NETDEV_QSTATS_SCOPE_QUEUE`: per queue, not per interface.
const SCOPE_QUEUE: u32 = 1;

/// Numbers of the attributes of type `uint`, which the bindings would cut to four bytes.
mod attribute {
    pub(super) const PROVIDER_RX_BUF_LEN: u16 = 1;
    pub(super) const POOL_ID: u16 = 1;
    pub(super) const POOL_NAPI_ID: u16 = 3;
    pub(super) const POOL_INFLIGHT: u16 = 4;
    pub(super) const POOL_INFLIGHT_MEM: u16 = 5;
    pub(super) const POOL_DETACH_TIME: u16 = 6;
    pub(super) const INFO_ID: u16 = 1;
    pub(super) const STATS_ALLOC_FAST: u16 = 8;
    pub(super) const QSTATS_RX_PACKETS: u16 = 8;
    pub(super) const QSTATS_RX_BYTES: u16 = 9;
    pub(super) const QSTATS_RX_ALLOC_FAIL: u16 = 12;
    pub(super) const QSTATS_RX_HW_DROPS: u16 = 13;
    pub(super) const QSTATS_RX_HW_DROP_OVERRUNS: u16 = 14;
}

impl Netlink {
    /// Receive queues of one interface, or of all.
    pub fn queues(&mut self, ifindex: Option<u32>) -> Result<Vec<RxQueue>, NetError> {
        let mut request = netdev::Request::new().op_queue_get_dump();
        if let Some(ifindex) = ifindex {
            request.encode().push_ifindex(ifindex);
        }
        self.ask("list queues", &request, |reply| rx_queue(&reply))
    }

    /// Page pools of this namespace's interfaces, with their statistics where the kernel keeps them.
    pub fn page_pools(&mut self) -> Result<Vec<PagePool>, NetError> {
        let mut pools =
            self.ask("list page pools", &netdev::Request::new().op_page_pool_get_dump(), |reply| {
                page_pool(&reply)
            })?;
        let request = netdev::Request::new().op_page_pool_stats_get_dump();
        match self.ask("read page pool statistics", &request, |reply| page_pool_stats(&reply)) {
            Ok(stats) => {
                for (id, stats) in stats {
                    if let Some(pool) = pools.iter_mut().find(|pool| pool.id == id) {
                        pool.stats = Some(stats);
                    }
                }
            }
            // Without CONFIG_PAGE_POOL_STATS the request does not exist; the pools themselves still do.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
        Ok(pools)
    }

    /// What drivers count for each receive queue, of one interface or of all whose driver counts.
    pub fn queue_stats(&mut self, ifindex: Option<u32>) -> Result<Vec<QueueStats>, NetError> {
        let mut request = netdev::Request::new().op_qstats_get_dump();
        let mut encoder = request.encode().push_scope(SCOPE_QUEUE);
        if let Some(ifindex) = ifindex {
            encoder = encoder.push_ifindex(ifindex);
        }
        drop(encoder);
        self.ask("read queue statistics", &request, |reply| queue_stats(&reply))
    }
}

/// The kernel sends an io_uring nest even where it is empty, as it was before it had attributes.
fn provider(io_uring: Option<&[u8]>, dmabuf: Option<u32>) -> Option<MemoryProvider> {
    match (io_uring, dmabuf) {
        (Some(nest), _) => {
            Some(MemoryProvider::IoUring { rx_buf_len: uint(nest, attribute::PROVIDER_RX_BUF_LEN) })
        }
        (None, Some(id)) => Some(MemoryProvider::Dmabuf { id }),
        (None, None) => None,
    }
}

fn rx_queue(reply: &IterableQueue<'_>) -> Option<RxQueue> {
    if reply.get_type().ok()? != RX {
        return None;
    }
    let io_uring = reply.get_io_uring().ok();
    Some(RxQueue {
        ifindex: reply.get_ifindex().ok()?,
        id: reply.get_id().ok()?,
        napi_id: reply.get_napi_id().ok(),
        provider: provider(
            io_uring.as_ref().map(netdev::IterableIoUringProviderInfo::get_buf),
            reply.get_dmabuf().ok(),
        ),
        af_xdp: reply.get_xsk().is_ok(),
    })
}

fn page_pool(reply: &IterablePagePool<'_>) -> Option<PagePool> {
    let attributes = reply.get_buf();
    let io_uring = reply.get_io_uring().ok();
    Some(PagePool {
        id: uint(attributes, attribute::POOL_ID)?,
        ifindex: reply.get_ifindex().ok(),
        napi_id: uint(attributes, attribute::POOL_NAPI_ID),
        inflight: uint(attributes, attribute::POOL_INFLIGHT),
        inflight_bytes: uint(attributes, attribute::POOL_INFLIGHT_MEM),
        detached_at: uint(attributes, attribute::POOL_DETACH_TIME),
        provider: provider(
            io_uring.as_ref().map(netdev::IterableIoUringProviderInfo::get_buf),
            reply.get_dmabuf().ok(),
        ),
        stats: None,
    })
}

fn page_pool_stats(reply: &IterablePagePoolStats<'_>) -> Option<(u64, PagePoolStats)> {
    let attributes = reply.get_buf();
    let id = uint(reply.get_info().ok()?.get_buf(), attribute::INFO_ID)?;
    // The counters follow one another in the order of `struct page_pool_stats`.
    let counter = |position: u16| uint(attributes, attribute::STATS_ALLOC_FAST + position);
    Some((
        id,
        PagePoolStats {
            alloc_fast: counter(0)?,
            alloc_slow: counter(1)?,
            alloc_slow_high_order: counter(2)?,
            alloc_empty: counter(3)?,
            alloc_refill: counter(4)?,
            alloc_waive: counter(5)?,
            recycle_cached: counter(6)?,
            recycle_cache_full: counter(7)?,
            recycle_ring: counter(8)?,
            recycle_ring_full: counter(9)?,
            recycle_released_refcnt: counter(10)?,
        },
    ))
}

fn queue_stats(reply: &IterableQstats<'_>) -> Option<QueueStats> {
    if reply.get_queue_type().ok()? != RX {
        return None;
    }
    let attributes = reply.get_buf();
    Some(QueueStats {
        ifindex: reply.get_ifindex().ok()?,
        queue: reply.get_queue_id().ok()?,
        packets: uint(attributes, attribute::QSTATS_RX_PACKETS),
        bytes: uint(attributes, attribute::QSTATS_RX_BYTES),
        alloc_fail: uint(attributes, attribute::QSTATS_RX_ALLOC_FAIL),
        hw_drops: uint(attributes, attribute::QSTATS_RX_HW_DROPS),
        hw_drop_overruns: uint(attributes, attribute::QSTATS_RX_HW_DROP_OVERRUNS),
    })
}
