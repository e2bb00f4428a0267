//! A network interface: its queues, and the settings that zcrx needs before an application can register a queue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A value that zcrxd read from the kernel, or the reason why zcrxd could not read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reading<T> {
    /// The value.
    Known(T),
    /// The reason, as text.
    Unknown(String),
}

impl<T> Reading<T> {
    /// The value, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The reason, if the value is unknown.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }
}

/// Which network namespace an interface lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NetNamespace {
    /// Unique in one boot; 1 is the initial namespace. Linux 5.14.
    pub cookie: u64,
    /// What `/proc/*/ns/net` shows in brackets.
    pub inode: u64,
}

/// One XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: XdpMode,
    /// BPF program id.
    pub id: u32,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack, on an skb.
    Generic,
    /// On the NIC.
    Offload,
}

/// What feeds a queue with memory instead of the driver's own pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryProvider {
    /// zcrx. Linux 6.15.
    IoUring {
        /// Buffer length that the owner requested, bytes. The kernel reports it from Linux 7.2 on.
        rx_buf_len: Option<u64>,
    },
    /// Device memory, by the id of its binding. Linux 6.12.
    Dmabuf {
        /// Id of the binding.
        id: u32,
    },
}

/// One receive queue, as the netdev netlink family reports it. Linux 6.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RxQueue {
    /// Interface index.
    pub ifindex: u32,
    /// Queue index.
    pub id: u32,
    /// NAPI instance that polls it; `None` when the driver does not say or the interface is down.
    pub napi_id: Option<u32>,
    /// Memory provider, if the driver does not feed the queue itself.
    pub provider: Option<MemoryProvider>,
    /// Whether an AF_XDP socket uses the queue. Always false before Linux 6.15, which does not report it.
    pub af_xdp: bool,
}

/// One page pool. Linux 6.8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagePool {
    /// Its id, unique in one boot.
    pub id: u64,
    /// Interface it feeds; `None` when that is gone.
    pub ifindex: Option<u32>,
    /// NAPI instance that uses it.
    pub napi_id: Option<u64>,
    /// Pages or niovs taken from the pool and not yet back.
    pub inflight: Option<u64>,
    /// Memory taken from the pool and not yet back, bytes.
    pub inflight_bytes: Option<u64>,
    /// When the driver detached the pool, CLOCK_BOOTTIME seconds; `None` while the pool is in use.
    pub detached_at: Option<u64>,
    /// Memory provider, if the page allocator does not feed the pool.
    pub provider: Option<MemoryProvider>,
    /// Its counters; `None` on kernels built without `CONFIG_PAGE_POOL_STATS`.
    pub stats: Option<PagePoolStats>,
}

/// A page pool's own counters, named as `struct page_pool_stats` names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PagePoolStats {
    /// From the cache.
    pub alloc_fast: u64,
    /// From the page allocator; stays 0 under a memory provider.
    pub alloc_slow: u64,
    /// From the page allocator, of higher order.
    pub alloc_slow_high_order: u64,
    /// Times the recycling ring was empty: under a memory provider, every call of the provider.
    pub alloc_empty: u64,
    /// Times the cache was filled from the recycling ring.
    pub alloc_refill: u64,
    /// Pages that could not be taken from the ring because they sit on another NUMA node.
    pub alloc_waive: u64,
    /// Returned to the cache.
    pub recycle_cached: u64,
    /// Not returned to the cache, because it was full.
    pub recycle_cache_full: u64,
    /// Returned to the recycling ring.
    pub recycle_ring: u64,
    /// Not returned to the ring, because it was full.
    pub recycle_ring_full: u64,
    /// Released because another user still held a reference to the page.
    pub recycle_released_refcnt: u64,
}

/// What a driver counts for one receive queue. Linux 6.9; each counter only where the driver keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStats {
    /// Interface index.
    pub ifindex: u32,
    /// Receive queue index.
    pub queue: u32,
    /// Packets received.
    pub packets: Option<u64>,
    /// Bytes received.
    pub bytes: Option<u64>,
    /// Buffers that the driver failed to allocate.
    pub alloc_fail: Option<u64>,
    /// Packets that the NIC dropped.
    pub hw_drops: Option<u64>,
    /// Packets that the NIC dropped because no buffer was posted; part of `hw_drops`.
    pub hw_drop_overruns: Option<u64>,
}

/// How many channels (interrupt vectors with queues) there are, as `ethtool -l` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels {
    /// Receive only.
    pub rx: u32,
    /// Transmit only.
    pub tx: u32,
    /// Link, mailbox and the like.
    pub other: u32,
    /// Both ways.
    pub combined: u32,
    /// Most of `rx`.
    pub rx_max: u32,
    /// Most of `tx`.
    pub tx_max: u32,
    /// Most of `other`.
    pub other_max: u32,
    /// Most of `combined`.
    pub combined_max: u32,
}

impl Channels {
    /// Number of receive queues.
    pub const fn rx_queues(&self) -> u32 {
        self.rx + self.combined
    }
}

/// Whether the NIC puts TCP headers and payload into different buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeaderSplit {
    /// The driver decides, and reports nothing.
    Auto,
    /// Never.
    Off,
    /// Always.
    On,
}

impl HeaderSplit {
    /// ethtool's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Off => "off",
            Self::On => "on",
        }
    }
}

/// Ring parameters, as `ethtool -g` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rings {
    /// Receive ring, descriptors.
    pub rx: Option<u32>,
    /// Most of `rx`.
    pub rx_max: Option<u32>,
    /// Transmit ring, descriptors.
    pub tx: Option<u32>,
    /// Most of `tx`.
    pub tx_max: Option<u32>,
    /// Receive buffer length, bytes.
    pub rx_buf_len: Option<u32>,
    /// Ring of payload buffers where the driver has one of its own ("rx-jumbo"), descriptors.
    #[serde(default)]
    pub rx_jumbo: Option<u32>,
    /// Most of `rx_jumbo`.
    #[serde(default)]
    pub rx_jumbo_max: Option<u32>,
    /// TCP header split as the driver reports it, which need not be what is configured.
    pub tcp_data_split: HeaderSplit,
    /// TCP header split as it is configured. The kernel requires it for a zcrx queue and reports it nowhere; `None` where
    /// zcrxd has not determined it.
    #[serde(default)]
    pub split_configured: Option<HeaderSplit>,
    /// Packets shorter than this are not split, bytes. Linux 6.14, where the driver has it.
    pub hds_thresh: Option<u32>,
    /// Most of `hds_thresh`.
    pub hds_thresh_max: Option<u32>,
}

impl Rings {
    /// Descriptors of the ring that holds payload buffers: bnxt (aggregation ring) and fbnic have one beside `rx`.
    pub fn payload(&self) -> Option<u32> {
        self.rx_jumbo.filter(|descriptors| *descriptors > 0).or(self.rx)
    }
}

/// Flow control by pause frames, as `ethtool -a` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The NIC obeys pause frames.
    pub rx: bool,
    /// The NIC sends pause frames when its receive buffers fill up.
    pub tx: bool,
}

/// One feature bit, as `ethtool -k` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// Whether the feature is in effect.
    pub active: bool,
    /// Whether the feature is requested; differs from `active` where the driver cannot comply at present.
    pub wanted: bool,
    /// Whether the setting is fixed.
    pub fixed: bool,
}

/// Receive side scaling, as `ethtool -x` shows it: the default context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rss {
    /// Indirection table: hash bucket to queue.
    pub table: Vec<u32>,
    /// Hash key, hexadecimal.
    pub key: String,
    /// Hash function, as a bit of `ETH_RSS_HASH_*`.
    pub hash_function: u8,
    /// Transformation of the hash's input (symmetric hashing), as bits of `RXH_XFRM_*`; 0 is none. Linux 6.8.
    #[serde(default)]
    pub input_xfrm: u8,
    /// Indirection tables of the other contexts that flow rules spread over, by context.
    #[serde(default)]
    pub contexts: BTreeMap<u32, Vec<u32>>,
}

/// One flow steering (ntuple) rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRule {
    /// Location in the table, which also identifies the rule when it is deleted. `None` to let the driver choose.
    pub location: Option<u32>,
    /// `struct ethtool_rx_flow_spec` with its location cleared, hexadecimal: enough to put the rule back exactly.
    pub spec: String,
    /// RSS context it spreads over, where the spec says so.
    pub rss_context: u32,
    /// The rule as readable text.
    pub text: String,
}

/// The table of flow steering rules, as `ethtool -n` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRules {
    /// Number of locations; `None` when the driver does not report it.
    pub capacity: Option<u32>,
    /// Whether the driver chooses the location of a rule itself.
    pub driver_places: bool,
    /// The rules.
    pub rules: Vec<FlowRule>,
}

/// Settings of an interface that zcrx depends on and that zcrxd can change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Channels.
    pub channels: Reading<Channels>,
    /// Ring parameters.
    pub rings: Reading<Rings>,
    /// Feature bits by their ethtool name.
    pub features: Reading<BTreeMap<String, Feature>>,
    /// Receive side scaling.
    pub rss: Reading<Rss>,
    /// Flow steering.
    pub rules: Reading<FlowRules>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Interface index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Network namespace of the interface.
    pub netns: Reading<NetNamespace>,
    /// Kind of virtual interface ("veth", "vlan"); `None` for hardware.
    pub kind: Option<String>,
    /// Driver.
    pub driver: Reading<String>,
    /// Place on its bus ("0000:03:00.0"); `None` without one.
    pub bus: Option<String>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Largest packet, bytes.
    pub mtu: Option<u32>,
    /// Administratively up.
    pub up: bool,
    /// XDP programs attached.
    pub xdp: Vec<XdpProgram>,
    /// Flow control; `None` where the driver does not say.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// Receive queues in use; empty while the interface is down.
    pub queues: Reading<Vec<RxQueue>>,
    /// Settings that zcrxd can change.
    #[serde(flatten)]
    pub setup: Setup,
}
