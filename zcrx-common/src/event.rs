//! What happened to each interface queue, counted by the event probes.

/// Queues that are counted at one time. Beyond that, events are lost and counted as lost.
pub const QUEUES: u32 = 512;

/// Threads that are inside one kind of call at one time; beyond that, the one longest unused makes room.
pub const THREADS: u32 = 512;

/// Number of distinct outcomes of one kind that are counted for each queue. Further outcomes count as lost.
pub const OUTCOMES: usize = 8;

/// Number of distinct kinds of notification (`enum zcrx_event_type`); the last one includes all higher kinds.
pub const NOTIFICATIONS: usize = 4;

/// The operation of a control call whose argument could not be read.
pub const UNKNOWN_OPERATION: u32 = 0xffff;

/// How often something ended in one way.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What, never 0: for receives the errno, for control calls [`Self::control`].
    pub code: u64,
    /// How often.
    pub count: u64,
}

impl Outcome {
    /// The code of a control call: its operation and its errno, 0 for success.
    pub const fn control(operation: u32, errno: u32) -> u64 {
        ((operation as u64) + 1) << 32 | errno as u64
    }

    /// Operation and errno of a control call.
    pub const fn operation(&self) -> (u32, u32) {
        (((self.code >> 32) as u32).wrapping_sub(1), self.code as u32)
    }
}

/// Counts of one queue, by the address of its `struct io_zcrx_ifq`, from its first event to its end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Receive calls.
    pub receives: u64,
    /// Of these, calls that found nothing to receive.
    pub receives_empty: u64,
    /// Payload received, bytes.
    pub received_bytes: u64,
    /// `bpf_ktime_get_ns` of the last call that received something, 0 if there was none.
    pub received_ns: u64,
    /// Calls of the copy fallback.
    pub copies: u64,
    /// Of these, calls that copied nothing.
    pub copies_failed: u64,
    /// Of the failed ones, those that found no free buffer, or an area that the kernel cannot write to.
    pub copies_without_buffer: u64,
    /// Of the failed ones, those that found the completion queue full.
    pub copies_without_completion: u64,
    /// Calls that copied less than they were asked for, for one of these reasons.
    pub copies_partial: u64,
    /// Bytes copied.
    pub copied_bytes: u64,
    /// Buffers that copies filled: each takes at most a page of data, however large it is.
    pub copied_buffers: u64,
    /// Refill entries that were consumed during `ZCRX_CTRL_FLUSH_RQ`.
    pub flushed: u64,
    /// Notifications that the kernel had reason for.
    pub raised: [u64; NOTIFICATIONS],
    /// Of these, such as the owner had asked for and not had since.
    pub notified: [u64; NOTIFICATIONS],
    /// Receives that ended with an error, by errno.
    pub errors: [Outcome; OUTCOMES],
    /// Control calls, by operation and errno.
    pub controls: [Outcome; OUTCOMES],
}

impl Events {
    /// Nothing has happened.
    // SAFETY: the structure is made of integers, for which zeroes are valid.
    pub const NONE: Self = unsafe { core::mem::zeroed() };
}

/// What a probe at a function's entry leaves for the one at its exit.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The queue; 0 when no call is under way.
    pub ifq: u64,
    /// Two notes of the probe's own.
    pub notes: [u64; 2],
}

/// Begins and ends of queues, page pools and rings: slots of the per-CPU array `LIVES`.
pub mod life {
    /// A page pool took zcrx as its provider.
    pub const POOL_BEGUN: u32 = 0;
    /// A page pool asked for zcrx as its provider and was refused.
    pub const POOL_REFUSED: u32 = 1;
    /// A page pool with zcrx as its provider was freed.
    pub const POOL_ENDED: u32 = 2;
    /// An interface queue was freed.
    pub const QUEUE_ENDED: u32 = 3;
    /// A ring that had queues was torn down.
    pub const RING_ENDED: u32 = 4;
    /// A control call named a queue that its ring does not have.
    pub const CONTROL_ASTRAY: u32 = 5;
    /// Number of slots.
    pub const SLOTS: u32 = 6;
}

const _: () = assert!(size_of::<Outcome>() == 16);
const _: () = assert!(size_of::<Events>() == 96 + 2 * 8 * NOTIFICATIONS + 2 * 16 * OUTCOMES);
const _: () = assert!(size_of::<Call>() == 24);
