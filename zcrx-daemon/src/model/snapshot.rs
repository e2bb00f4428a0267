//! The kernel's state of every zcrx queue on the host, read by a snapshot, and the counts of the probes for each queue.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    AllocationDistributions, ControlCount, CqState, DeliveryCount, Discovery, FallbackCount, NapiState,
    NotificationCount, QueueRing, ResidenceCount, SocketBacklog, TopSocket, Watermarks,
};

/// Every queue of the host that the snapshot found, of any owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelSnapshot {
    /// Kernel time (`bpf_ktime_get_ns`) when reading began. Queues move while they are read: the span from here to
    /// [`Self::ended`] bounds by how much two figures of one snapshot can disagree.
    pub began: Duration,
    /// Kernel time when reading ended.
    pub ended: Duration,
    /// The queues, in no particular order, each once.
    pub queues: Vec<Arc<KernelQueue>>,
    /// Why something may be missing, one entry per reason; empty if nothing is.
    pub incomplete: Vec<String>,
    /// How the queues were found.
    #[serde(default)]
    pub discovery: Option<Discovery>,
}

/// One interface queue in the kernel. Every field that this kernel does not have, or that could not be read, is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelQueue {
    /// Identity of the queue: unique for as long as zcrxd runs, never used again. No kernel address.
    pub ifq: u64,
    /// Identity of the first of [`Self::rings`]; `None` for an exported queue that outlived its rings.
    pub ring: Option<u64>,
    /// Which of the ring's queues this is. Linux 6.16.
    pub zcrx_id: Option<u32>,
    /// Interface index; `None` without a device.
    pub ifindex: Option<u32>,
    /// Interface name in its own network namespace.
    pub interface: Option<String>,
    /// Inode of the interface's network namespace.
    pub netns: Option<u64>,
    /// Hardware receive queue index; `None` without a device.
    pub queue: Option<u32>,
    /// Processes that hold the ring or the queue; more than one after a fork.
    pub owners: Vec<Owner>,
    /// The refill ring.
    pub refill: Option<RefillState>,
    /// The areas; one up to Linux 7.2.
    pub areas: Vec<AreaState>,
    /// The page pool that the queue feeds.
    pub pool: Option<PoolState>,
    /// The completion queue of the ring.
    pub cq: Option<CqState>,
    /// NAPI instance that serves the queue, where the driver reports it.
    #[serde(default)]
    pub napi_id: Option<u32>,
    /// The NAPI instance that polls the queue, as far as the driver names it to the kernel. Linux 6.11.
    #[serde(default)]
    pub napi: Option<NapiState>,
    /// Connected TCP sockets of the owners that the queue feeds, and what waits in them.
    pub sockets: Option<SocketBacklog>,
    /// Why [`Self::sockets`] is unknown, if it is.
    #[serde(default)]
    pub sockets_unknown: Option<String>,
    /// Those of [`Self::sockets`] in which the most data waits, most first: four at most, and none in which nothing does. `None`
    /// where sockets are unknown, or this kernel's types do not describe their addresses.
    #[serde(default)]
    pub top_sockets: Option<Vec<TopSocket>>,
    /// What the allocation probe counted since it was attached or the queue was made.
    pub allocation: Option<AllocationCount>,
    /// What the delivery probe counted, likewise.
    #[serde(default)]
    pub delivery: Option<DeliveryCount>,
    /// What the copy probe counted, likewise. Linux 6.18.
    #[serde(default)]
    pub fallback: Option<FallbackCount>,
    /// What the control probe counted, likewise. Linux 6.19.
    #[serde(default)]
    pub control: Option<ControlCount>,
    /// What the notification probe counted, likewise, each kind that there was. Linux 7.2.
    #[serde(default)]
    pub notifications: Option<Vec<NotificationCount>>,
    /// Residence of sampled buffers, likewise; `None` unless the configuration requests it. Linux 6.18.
    #[serde(default)]
    pub residence: Option<ResidenceCount>,
    /// Every ring that has the queue, the ring that registered it first. Several share a queue since Linux 6.19: then
    /// [`Self::owners`] and [`Self::sockets`] are of all of them together, [`Self::cq`] is the fullest ring's.
    #[serde(default)]
    pub rings: Vec<QueueRing>,
    /// Extremes since the sample before; `None` where the allocation probe is not attached.
    #[serde(default)]
    pub watermarks: Option<Watermarks>,
    /// Distributions of the allocation's calls; `None` where its probe is not attached.
    #[serde(default)]
    pub distributions: Option<AllocationDistributions>,
    /// Size of one buffer (niov), bytes; `None` where the kernel keeps no such size (before Linux 6.18).
    #[serde(default)]
    pub buffer_bytes: Option<u32>,
    /// The device that the page pool serves, where that is another one than [`Self::interface`]: a virtual device (netkit) leases
    /// a queue of a physical one. Linux 7.1.
    #[serde(default)]
    pub physical: Option<PhysicalQueue>,
    /// Refill entries and completions that moved while the queue was read. Figures made of several reads (held, unaccounted) are
    /// off by at most that many buffers. `None` where heads and tails could not be read.
    #[serde(default)]
    pub moved: Option<u32>,
}

/// The device behind a leased queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PhysicalQueue {
    /// Interface name in its own network namespace.
    pub interface: Option<String>,
    /// Interface index.
    pub ifindex: Option<u32>,
    /// Inode of its network namespace.
    pub netns: Option<u64>,
    /// Hardware receive queue index.
    pub queue: Option<u32>,
}

/// A process that holds a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name of its main thread.
    #[serde(deserialize_with = "super::text::deserialize")]
    pub comm: String,
    /// File descriptor of the ring; `None` if only registered with the thread.
    pub fd: Option<u32>,
    /// Cgroup id.
    pub cgroup: Option<u64>,
}

/// A refill ring: `tail - cached_head` entries wait for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefillState {
    /// Capacity, entries.
    pub entries: u32,
    /// How far the kernel has consumed (modulo 2^32).
    pub cached_head: u32,
    /// How far user space has published (modulo 2^32).
    pub tail: u32,
}

impl RefillState {
    /// Entries published and not consumed.
    pub const fn pending(&self) -> u32 {
        self.tail.wrapping_sub(self.cached_head)
    }
}

/// One area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AreaState {
    /// Buffers (niovs) in it.
    pub buffers: u32,
    /// Buffers on the freelist. 0 is a normal steady state: recycled buffers do not return to it.
    pub free: u32,
    /// Buffers that user space holds a reference to: not returned, or returned and not consumed, or completed and not
    /// read. `None` where counting them was refused or switched off.
    pub user_buffers: Option<u32>,
    /// All those references; more than `user_buffers` where buffers were delivered in fragments.
    pub user_references: Option<u64>,
    /// Largest error of [`Self::user_buffers`], buffers: 0 where all were counted. Large areas are sampled by stride; then 19 of 20
    /// counts are at most this far off. `None` where nothing was counted.
    #[serde(default)]
    pub user_buffers_error: Option<u32>,
    /// Whether the area is a dmabuf (GPU memory): the kernel cannot copy into it. Linux 6.16.
    #[serde(default)]
    pub dmabuf: Option<bool>,
}

/// The page pool behind a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolState {
    /// Its id in the netdev netlink family.
    pub id: u32,
    /// Buffers in its allocation cache.
    pub cache: Option<u32>,
    /// Buffers in its ring: those that the kernel returned outside the pool's NAPI instance, such as those of a socket that was closed
    /// with data in it. The next allocation that finds the cache empty takes them.
    #[serde(default)]
    pub ring: Option<u32>,
    /// Buffers taken in since it was made (modulo 2^32).
    pub held: u32,
    /// Buffers given up since it was made (modulo 2^32).
    pub released: u32,
}

impl PoolState {
    /// Buffers the pool is responsible for: its cache, its ring, posted descriptors, sockets, user space, refill ring.
    pub const fn inflight(&self) -> u32 {
        self.held.wrapping_sub(self.released)
    }
}

/// Counts of the provider's allocation function for one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocationCount {
    /// Calls.
    pub calls: u64,
    /// Calls that allocated no buffer.
    pub failures: u64,
    /// Buffers allocated.
    pub buffers: u64,
    /// Refill entries consumed. Far more than `buffers` means wasted entries: fragments, or bad ones.
    pub consumed: u64,
    /// Largest number of refill entries that waited when a call began. The owner writes the ring's tail: a number above the
    /// ring's size is the owner's error.
    #[serde(default)]
    pub fullest: u32,
    /// Part of `buffers` that came from the freelist.
    pub from_freelist: u64,
    /// Kernel time of the last call that allocated a buffer.
    pub last_success: Option<Duration>,
    /// Kernel time of the first failure since then; `None` while buffers flow.
    pub starving_since: Option<Duration>,
    /// Number of starvations, the present one included.
    pub starvations: u64,
    /// Time from the first failure to the next success, of all starvations that are over.
    pub starved: Duration,
}

impl KernelQueue {
    /// Buffers of all areas.
    pub fn buffers(&self) -> u64 {
        self.areas.iter().map(|area| u64::from(area.buffers)).sum()
    }

    /// Buffers of all areas on the freelist.
    pub fn free(&self) -> u64 {
        self.areas.iter().map(|area| u64::from(area.free)).sum()
    }

    /// Buffers of all areas that user space holds a reference to; `None` if one area's count is unknown.
    pub fn user_buffers(&self) -> Option<u64> {
        self.areas.iter().map(|area| area.user_buffers.map(u64::from)).sum()
    }

    /// The conservation law's remainder: buffers that neither the freelist nor the page pool accounts for.
    ///
    /// `buffers = free + (held - released) + buffers that the copy fallback gave to user space`; the last term is what
    /// is returned here, and it can be off by what moved while the snapshot was taken. `None` without a page pool.
    pub fn outside_pool(&self) -> Option<i64> {
        let pool = self.pool?;
        Some(self.buffers() as i64 - self.free() as i64 - i64::from(pool.inflight()))
    }
}

#[cfg(test)]
impl KernelQueue {
    /// A queue that starves since 2.5 s, every optional value of this file known: what tests show of a queue.
    pub(crate) fn example() -> Self {
        use std::collections::BTreeMap;

        use super::{ControlOperation, ControlResult, NotificationKind};

        Self {
            ifq: 2,
            ring: Some(1),
            zcrx_id: Some(0),
            ifindex: Some(2),
            interface: Some("eth0".to_owned()),
            netns: Some(4_026_531_840),
            queue: Some(7),
            owners: vec![
                Owner { pid: 4243, comm: "<child>".to_owned(), fd: Some(5), cgroup: Some(99) },
                Owner { pid: 4242, comm: "receiver".to_owned(), fd: Some(5), cgroup: Some(99) },
            ],
            refill: Some(RefillState { entries: 1024, cached_head: u32::MAX - 4, tail: 100 }),
            areas: vec![AreaState {
                buffers: 2048,
                free: 0,
                user_buffers: Some(1900),
                user_references: Some(2000),
                user_buffers_error: Some(0),
                dmabuf: Some(false),
            }],
            pool: Some(PoolState { id: 17, cache: Some(64), ring: Some(0), held: 2050, released: 5 }),
            cq: Some(CqState { entries: 4096, head: 10, tail: 40, overflow: 2, mixed: false, unread: None }),
            napi_id: Some(8193),
            napi: Some(NapiState {
                scheduled: true,
                irq_suspend: Some(Duration::ZERO),
                ..NapiState::default()
            }),
            allocation: Some(AllocationCount {
                calls: 500,
                failures: 40,
                buffers: 30_000,
                consumed: 31_000,
                fullest: 1024,
                from_freelist: 2048,
                last_success: Some(Duration::from_millis(997_400)),
                starving_since: Some(Duration::from_millis(997_500)),
                starvations: 3,
                starved: Duration::from_millis(1500),
            }),
            delivery: Some(DeliveryCount {
                calls: 9000,
                empty: 700,
                bytes: 123_000_000,
                last: Some(Duration::from_millis(997_450)),
                errors: BTreeMap::from([(libc::ENOMEM, 6)]),
            }),
            fallback: Some(FallbackCount {
                calls: 30,
                failures: 6,
                no_buffer: Some(5),
                cq_full: Some(1),
                partial: Some(2),
                bytes: 90_000,
                buffers: 31,
            }),
            control: Some(ControlCount {
                results: vec![
                    ControlResult { operation: ControlOperation::FlushRq, errno: 0, count: 4 },
                    ControlResult { operation: ControlOperation::AddArea, errno: libc::EFAULT, count: 1 },
                ],
                flushed: 77,
            }),
            notifications: Some(vec![NotificationCount {
                kind: NotificationKind::AllocFail,
                raised: 40,
                sent: 1,
            }]),
            watermarks: Some(Watermarks {
                calls: 9,
                least_allocatable: Some(0),
                most_pending: Some(1024),
                longest_starvation: Some(Duration::from_millis(400)),
            }),
            buffer_bytes: Some(4096),
            physical: None,
            moved: Some(3),
            ..Self::default()
        }
    }
}
