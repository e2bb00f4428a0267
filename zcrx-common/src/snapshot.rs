//! The state of every interface queue, as BPF iterators find it.
//!
//! User space asks: it writes [`Config`] with a new generation and reads the iterators to their end. The programs
//! put records into a ring buffer: for each ring [`Ring`], once per process that holds it; behind the first of
//! these [`Consumer`], and for each of the ring's queues [`Member`]. A queue that was not met before in this snapshot follows with
//! [`Queue`], an [`Area`] for each area, and [`After`]. Sockets are too many for a record each: they are added up in a map, by
//! [`SocketsKey`].

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
    /// [`super::Member`].
    pub const MEMBER: u32 = 5;
    /// [`super::Consumer`].
    pub const CONSUMER: u32 = 6;
    /// [`super::After`].
    pub const AFTER: u32 = 7;
    /// [`super::Ring`] of which only the address counts: the ring was torn down while it was read, and its records mean nothing.
    pub const GONE: u32 = 8;
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
/// The queue is leased: its page pool belongs to another device, which the `physical_*` fields name.
pub const HAS_LEASE: u32 = 1 << 4;
/// [`Ring::cq_unread`] counts the completions that wait.
pub const HAS_UNREAD: u32 = 1 << 5;
/// Completions take one or two slots each; without [`HAS_UNREAD`] they could not be counted.
pub const HAS_MIXED: u32 = 1 << 6;
/// [`Ring`] found through its consumer, which has exited: the record names no holder.
pub const HAS_NO_HOLDER: u32 = 1 << 7;
/// The NAPI instance that polls the queue was found: [`Queue::napi_state`] and [`Queue::napi_irq_suspend_ns`] mean something.
pub const HAS_NAPI: u32 = 1 << 8;

/// How user space asks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Different for each snapshot: what was seen under it is not walked twice.
    pub generation: u64,
    /// Address of `io_uring_fops`; 0 makes the program read it from the ring [`Self::own_fd`].
    pub ring_operations: u64,
    /// Superblock of the files that io_uring makes, learned likewise.
    pub superblock: u64,
    /// Descriptor of a ring of the reader, from which the program reads the address of `io_uring_fops`.
    pub own_fd: u32,
    /// Buffers of an area whose references are counted. Of a larger area about so many are sampled.
    pub most_buffers: u32,
}

/// A ring in the registry, by the address of its context.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisteredRing {
    /// `bpf_ktime_get_ns` when the ring entered the registry.
    pub since_ns: u64,
}

/// Rings that the registry has room for.
pub const RINGS: u32 = 1024;

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
    /// `bpf_ktime_get_ns` when a ring entered the registry; 0 for one that is not there.
    pub since_ns: u64,
    /// File descriptor, or [`REGISTERED`].
    pub fd: u32,
    /// Completion queue capacity, slots; 0 if the ring's shared memory could not be read.
    pub cq_entries: u32,
    /// Slots read by user space.
    pub cq_head: u32,
    /// Slots written by the kernel.
    pub cq_tail: u32,
    /// Completions that found no room.
    pub cq_overflow: u32,
    /// [`HAS_MORE_IDS`], [`HAS_MIXED`], [`HAS_UNREAD`], [`HAS_NO_HOLDER`].
    pub known: u32,
    /// Completions that wait; only with [`HAS_UNREAD`].
    pub cq_unread: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
    /// Name of the main thread, zero-terminated.
    pub comm: [u8; 16],
}

/// The thread that submits to a ring and reaps from it. Fields that the kernel does not have are 0: user space knows which.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// [`kind::CONSUMER`].
    pub kind: u32,
    /// Process, in the initial pid namespace.
    pub pid: u32,
    /// Address of the ring context.
    pub ring: u64,
    /// Thread, in the initial pid namespace.
    pub tid: u32,
    /// `TASK_*`
    pub state: u32,
    /// `EXIT_*`
    pub exit_state: u32,
    /// For how many completions it waits in `io_uring_enter`; negative while it does not.
    pub waiting: i32,
    /// `JOBCTL_*`
    pub job_control: u64,
    /// CPU time, nanoseconds.
    pub cpu_ns: u64,
    /// Time ready to run without a CPU, nanoseconds.
    pub delay_ns: u64,
    /// Time throttled by `cpu.max`, nanoseconds: the largest of its scheduling group and those above.
    pub throttled_ns: u64,
    /// 1 if task work waits.
    pub work: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
    /// Thread name, zero-terminated.
    pub comm: [u8; 16],
}

/// A queue that a ring has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// [`kind::MEMBER`].
    pub kind: u32,
    /// Which of the ring's queues, or [`NO_ID`].
    pub zcrx_id: u32,
    /// Address of the ring context.
    pub ring: u64,
    /// Address of the kernel's `struct io_zcrx_ifq`.
    pub ifq: u64,
}

/// An interface queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// [`kind::QUEUE`].
    pub kind: u32,
    /// `HAS_*`.
    pub known: u32,
    /// Address of the ring context by which it was found, 0 for a queue found by an exported file.
    pub ring: u64,
    /// Address of the kernel's `struct io_zcrx_ifq`.
    pub ifq: u64,
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
    /// Size of a buffer as a power of two, 0 if the kernel keeps none.
    pub buffer_shift: u32,
    /// Page pool: id in the netdev netlink family.
    pub pool_id: u32,
    /// Page pool: buffers in its allocation cache.
    pub pool_cache: u32,
    /// Page pool: buffers in its ring.
    pub pool_ring: u32,
    /// Page pool: buffers taken in.
    pub pool_held: u32,
    /// Page pool: buffers given up.
    pub pool_released: u32,
    /// Page pool: NAPI instance that uses it, 0 if its driver does not say.
    pub napi_id: u32,
    /// Interface index of the device behind a leased queue.
    pub physical_ifindex: u32,
    /// Inode number of that device's network namespace.
    pub physical_netns: u32,
    /// Hardware queue of that device; [`u32::MAX`] if the page pool does not say.
    pub physical_rxq: u32,
    /// State of the NAPI instance that polls the queue, the lower 32 bits.
    pub napi_state: u32,
    /// For how long a program that busy-polls may keep that instance's interrupts off, nanoseconds.
    pub napi_irq_suspend_ns: u64,
    /// Interface name, zero-terminated.
    pub interface: [u8; 16],
    /// Interface name of the device behind a leased queue, zero-terminated.
    pub physical: [u8; 16],
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
    /// Buffers whose references were counted, in groups of [`CHUNK`].
    pub scanned: u32,
    /// Of these, buffers that user space holds references to.
    pub user_buffers: u32,
    /// All references to them.
    pub user_references: u64,
    /// Sum over the groups of the square of the buffers that user space holds.
    pub squares: u64,
    /// Groups that were counted.
    pub chunks: u32,
    /// Every so many groups one was counted; 1 for all.
    pub stride: u32,
    /// 1 for a dmabuf.
    pub dmabuf: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
}

/// Buffers whose references are read at once.
pub const CHUNK: u32 = 128;

/// What moves, read once more after everything else of a queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct After {
    /// [`kind::AFTER`].
    pub kind: u32,
    /// Refill entries consumed by the kernel.
    pub cached_head: u32,
    /// Address of the queue.
    pub ifq: u64,
    /// Refill entries published by user space.
    pub tail: u32,
    /// Slots of the completion queue written by the kernel.
    pub cq_tail: u32,
}

/// Owners of queues that are kept at one time.
pub const OWNERS: u32 = 4096;

/// Processes whose files may have changed that are kept between two snapshots. User space walks all files when there are 64.
pub const CHANGES: u32 = 256;

/// Sums of owners' sockets that are kept at one time. Each snapshot reads every bucket of the table.
pub const SOCKET_SUMS: u32 = 2048;

/// The connected TCP sockets of one owner whose data came by one NAPI instance: those with a receive armed for one queue by one
/// ring, and those without.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketsKey {
    /// Process, in the initial pid namespace.
    pub pid: u32,
    /// NAPI instance that delivered to them last; 0 if none has yet, or it was the loopback.
    pub napi_id: u32,
    /// Queue of the armed receive, 0 without one.
    pub ifq: u64,
    /// Ring of the armed receive, 0 without one.
    pub ring: u64,
}

/// What waits in these sockets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// The snapshot that added them up; older sums mean nothing.
    pub generation: u64,
    /// In-order payload that the owner has not received, bytes.
    pub unread_bytes: u64,
    /// Sum of their receive buffer limits, bytes.
    pub limit_bytes: u64,
    /// Memory that they account for received data, bytes.
    pub buffered_bytes: u64,
    /// Memory that the first packet of each socket accounts for, bytes.
    pub packet_bytes: u64,
    /// Buffers in which the payload of these packets lies.
    pub packet_buffers: u32,
    /// Sockets.
    pub sockets: u32,
    /// Those of them with the most data, in no order; zero where there are fewer.
    pub top: [TopSocket; TOP_SOCKETS],
}

/// Sockets that each sum names: those with the most data.
pub const TOP_SOCKETS: usize = 4;

/// [`TopSocket::fd`] of a socket that was met among those registered with a ring.
pub const NO_FD: u32 = u32::MAX;

/// One socket in which data waits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopSocket {
    /// Memory that it accounts for received data, bytes.
    pub buffered_bytes: u64,
    /// In-order payload that the owner has not received, bytes.
    pub unread_bytes: u64,
    /// Its peer's address; IPv4 in the first four bytes.
    pub peer: [u8; 16],
    /// The descriptor by which it was met, or [`NO_FD`].
    pub fd: u32,
    /// Address family, 0 where there is no socket.
    pub family: u16,
    /// Local port.
    pub port: u16,
    /// The peer's port, in network order.
    pub peer_port: u16,
    /// Keeps the structure free of padding.
    pub reserved: [u16; 3],
}

const _: () = assert!(size_of::<SocketsKey>() == 24);
const _: () = assert!(size_of::<Sockets>() == 48 + 48 * TOP_SOCKETS);
const _: () = assert!(size_of::<Config>() == 32);
const _: () = assert!(size_of::<Ring>() == 80);
const _: () = assert!(size_of::<Consumer>() == 88);
const _: () = assert!(size_of::<Member>() == 24);
const _: () = assert!(size_of::<Queue>() == 136);
const _: () = assert!(size_of::<Area>() == 64);
const _: () = assert!(size_of::<After>() == 24);
