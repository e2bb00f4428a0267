//! Registrations of interface queues, of any process.

/// `IORING_REGISTER_ZCRX_IFQ`.
pub const REGISTER_ZCRX_IFQ: u32 = 32;

/// `__NR_io_uring_register`: the same on every architecture.
pub const SYSCALL_IO_URING_REGISTER: u32 = 427;

/// Number of distinct results. This call of the kernel returns fewer.
pub const RESULTS: u32 = 64;

/// The call is over and its duration is known.
pub const HAS_DURATION: u32 = 1 << 0;
/// The caller's `io_uring_zcrx_ifq_reg` could be read.
pub const HAS_ARGUMENTS: u32 = 1 << 1;

/// The caller lacks `CAP_NET_ADMIN` in the initial user namespace: the kernel refuses whatever it asks for.
pub const IS_UNPRIVILEGED: u32 = 1 << 2;

/// Users without privileges whose last attempt is remembered.
pub const UNPRIVILEGED_USERS: u32 = 256;
/// Attempts of one user without privileges that are noted within [`UNPRIVILEGED_PAUSE_NS`]. Every attempt is counted.
pub const UNPRIVILEGED_ATTEMPTS: u64 = 4;
/// Time in nanoseconds after which more attempts of that user are noted.
pub const UNPRIVILEGED_PAUSE_NS: u64 = 60_000_000_000;

/// A message of the kernel's, zero-terminated, cut if longer; empty if there was none.
pub type Words = [u8; 96];

/// One registration that ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// `bpf_ktime_get_ns` at its end.
    pub at_ns: u64,
    /// Time between entry and exit of the kernel's function; only with [`HAS_DURATION`].
    pub duration_ns: u64,
    /// Process, in the initial pid namespace.
    pub pid: u32,
    /// Thread, in the initial pid namespace.
    pub tid: u32,
    /// 0, or the negative errno.
    pub result: i32,
    /// [`HAS_DURATION`], [`HAS_ARGUMENTS`], [`IS_UNPRIVILEGED`].
    pub known: u32,
    /// Inode number of the caller's network namespace, 0 if it could not be read.
    pub netns: u32,
    /// Keeps the record free of padding.
    pub reserved: u32,
    /// Name of the interface asked for, zero-terminated; empty if it could not be read or there is none.
    pub interface: [u8; 16],
    /// What the caller asked for; only with [`HAS_ARGUMENTS`].
    pub arguments: Arguments,
    /// Thread name, zero-terminated.
    pub comm: [u8; 16],
    /// What the kernel said about it beyond the errno.
    pub words: Words,
}

/// The head of the kernel's `struct io_uring_zcrx_ifq_reg`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Interface index, in the caller's network namespace.
    pub if_idx: u32,
    /// Hardware receive queue.
    pub if_rxq: u32,
    /// Refill ring entries.
    pub rq_entries: u32,
    /// `ZCRX_REG_*`.
    pub flags: u32,
}

/// A call under way, kept per thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// `bpf_ktime_get_ns` at entry.
    pub entered_ns: u64,
    /// `bpf_ktime_get_ns` at exit; 0 until then.
    pub left_ns: u64,
    /// The ring, where the entry saw it.
    pub ring: u64,
}

const _: () = assert!(size_of::<Arguments>() == 16);
const _: () = assert!(size_of::<Event>() == 184);
const _: () = assert!(size_of::<Call>() == 24);
