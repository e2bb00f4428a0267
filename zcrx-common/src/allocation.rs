//! What the provider's allocation function did, per queue.

/// Queues that can be told apart at one time; beyond that, the one longest unused makes room.
pub const QUEUES: u32 = 512;

/// A queue while it feeds one page pool: when the interface is restarted, both the pool and the count are new.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Address of the kernel's `struct io_zcrx_ifq`.
    pub ifq: u64,
    /// The page pool's id, 0 where this kernel's types do not tell.
    pub pool_id: u32,
    /// Keeps the key free of padding.
    pub reserved: u32,
}

/// Counts of one queue. A page pool has one consumer at a time, so one state serves all CPUs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Calls that were seen from entry to exit.
    pub calls: u64,
    /// Calls that yielded nothing.
    pub failures: u64,
    /// Buffers yielded.
    pub buffers: u64,
    /// Refill entries consumed.
    pub consumed: u64,
    /// Buffers yielded from the freelist.
    pub from_freelist: u64,
    /// `bpf_ktime_get_ns` of the last call that yielded something, 0 if there was none.
    pub last_success_ns: u64,
    /// `bpf_ktime_get_ns` of the first failure since then, 0 while buffers flow.
    pub starving_since_ns: u64,
    /// Times that a failure came after a success, or first of all.
    pub starvations: u64,
    /// Time from first failure to next success, of all starvations that are over.
    pub starved_ns: u64,
    /// The call under way: refill entries consumed before it.
    pub head: u32,
    /// The call under way: buffers that the pool had taken in before it.
    pub held: u32,
    /// The call under way: buffers in the pool's cache before it.
    pub cached: u32,
    /// 1 while a call is under way.
    pub inside: u32,
    /// The most refill entries that waited when a call began.
    pub fullest: u32,
    /// Keeps the state free of padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Key>() == 16);
const _: () = assert!(size_of::<State>() == 96);
