//! The state of every interface queue, as BPF iterators find it.
//!
//! User space asks: it writes [`Config`] with a new generation and reads the iterators to their end. The programs
//! put records into a ring buffer: for each ring [`Ring`], once per process that holds it; behind the first of
//! these, for each of its queues [`Queue`] and for each area [`Area`]. Sockets are too many for a record each: they are
//! added up in a map, by [`SocketsKey`].

/// Kinds of records.
pub mod kind {
    /// [`super::Ring`] of a ring.
    pub const RING: u32 = 1;
    /// [`super::Ring`] of a file that holds an exported queue: `address` is the queue's.
    pub const EXPORTED: u32 = 2;
    /// [`super::Queue`].
    pub const QUEUE: u32 = 3;
    /// [`super::Area`].
    pub const AREA: u32 = 4;
}

/// `Ring::fd` of a ring that a thread holds without a file descriptor.
pub const REGISTERED: u32 = u32::MAX;
/// `Queue::zcrx_id` where a ring has one queue without id (6.15), or the queue was found by an exported file.
pub const NO_ID: u32 = u32::MAX;

/// The queue has a device: `if_rxq`, `ifindex`, `netns` and `interface` mean something.
pub const HAS_DEVICE: u32 = 1 << 0;
/// The queue's page pool was found: the `pool_*` fields mean something.
pub const HAS_POOL: u32 = 1 << 1;
/// The queue's refill ring could be read.
pub const HAS_REFILL: u32 = 1 << 2;
/// There are more queue ids than were looked at.
pub const HAS_MORE_IDS: u32 = 1 << 3;

/// How user space asks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Different for each snapshot: what was seen under it is not walked twice.
    pub generation: u64,
    /// Address of `io_uring_fops`; 0 asks the program to learn it from the reader's own ring.
    pub ring_operations: u64,
    /// Address of `zcrx_box_fops`; 0 if unknown. Linux 6.19.
    pub exported_operations: u64,
    /// The reader's own ring, for learning.
    pub own_fd: u32,
    /// Largest area, in buffers, in which user space's references are counted.
    pub most_buffers: u32,
}

/// A process that holds a ring (or an exported queue).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// [`kind::RING`] or [`kind::EXPORTED`].
    pub kind: u32,
    /// Process, in the initial pid namespace.
    pub pid: u32,
    /// Address of the ring context or the exported queue.
    pub address: u64,
    /// Cgroup id, 0 if it could not be read.
    pub cgroup: u64,
    /// File descriptor, or [`REGISTERED`].
    pub fd: u32,
    /// Completion queue capacity; 0 if the ring's shared memory could not be read.
    pub cq_entries: u32,
    /// Completions read by user space.
    pub cq_head: u32,
    /// Completions written by the kernel.
    pub cq_tail: u32,
    /// Completions that found no room.
    pub cq_overflow: u32,
    /// [`HAS_MORE_IDS`].
    pub known: u32,
    /// Name of the main thread, zero-terminated.
    pub comm: [u8; 16],
}

/// An interface queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// [`kind::QUEUE`].
    pub kind: u32,
    /// Which of the ring's queues, or [`NO_ID`].
    pub zcrx_id: u32,
    /// Address of the ring context, 0 for a queue found by an exported file.
    pub ring: u64,
    /// Address of the kernel's `struct io_zcrx_ifq`.
    pub ifq: u64,
    /// `HAS_*`.
    pub known: u32,
    /// Hardware queue.
    pub if_rxq: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Inode number of the interface's network namespace, 0 if it could not be read.
    pub netns: u32,
    /// Refill ring capacity.
    pub entries: u32,
    /// Refill entries consumed by the kernel.
    pub cached_head: u32,
    /// Refill entries published by user space.
    pub tail: u32,
    /// Areas; one record each follows.
    pub areas: u32,
    /// Page pool: id in the netdev netlink family.
    pub pool_id: u32,
    /// Page pool: buffers in its allocation cache.
    pub pool_cache: u32,
    /// Page pool: buffers taken in.
    pub pool_held: u32,
    /// Page pool: buffers given up.
    pub pool_released: u32,
    /// Page pool: NAPI instance that uses it, 0 if its driver does not say.
    pub napi_id: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
    /// Interface name, zero-terminated.
    pub interface: [u8; 16],
}

/// An area of a queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// [`kind::AREA`].
    pub kind: u32,
    /// Which of the queue's areas.
    pub index: u32,
    /// Address of the queue.
    pub ifq: u64,
    /// Buffers.
    pub buffers: u32,
    /// Buffers on the freelist.
    pub free: u32,
    /// Buffers whose references were counted: all of them, or the counts mean nothing.
    pub scanned: u32,
    /// Buffers that user space holds references to.
    pub user_buffers: u32,
    /// All those references.
    pub user_references: u64,
}

/// Owners of queues, and sums of their sockets, that are kept at one time.
pub const OWNERS: u32 = 4096;

/// The connected TCP sockets of one owner whose data came by one NAPI instance.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketsKey {
    /// Process, in the initial pid namespace.
    pub pid: u32,
    /// NAPI instance that delivered to them last; 0 if none has yet, or it was the loopback.
    pub napi_id: u32,
}

/// What waits in these sockets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// The snapshot that added them up; older sums mean nothing.
    pub generation: u64,
    /// Payload in order that nobody has received, bytes.
    pub unread_bytes: u64,
    /// Sum of their receive buffer limits, bytes.
    pub limit_bytes: u64,
    /// Sockets.
    pub sockets: u32,
    /// Keeps the value free of padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<SocketsKey>() == 8);
const _: () = assert!(size_of::<Sockets>() == 32);
const _: () = assert!(size_of::<Config>() == 32);
const _: () = assert!(size_of::<Ring>() == 64);
const _: () = assert!(size_of::<Queue>() == 96);
const _: () = assert!(size_of::<Area>() == 40);
