//! What the provider's allocation function did, per queue.

/// Queues that are counted at one time. Calls for others are lost and counted as lost.
pub const QUEUES: u32 = 512;

/// Buckets of the entries consumed and the buffers yielded per call: 0, 1, 2 to 3, up to 256 and more.
pub const BATCH_BUCKETS: usize = 10;

/// Buckets of the lengths of starvations in microseconds: the last one begins at 2^30, 18 minutes.
pub const STARVATION_BUCKETS: usize = 32;

/// Counts of one queue, by the address of its `struct io_zcrx_ifq`, from its first call to its end. One page pool at a time feeds
/// a queue, and a page pool has one consumer at a time, so one state serves all CPUs.
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
    /// The interval that the fields with `interval_` belong to.
    pub interval: u32,
    /// Calls in this interval.
    pub interval_calls: u32,
    /// The most refill entries that waited when a call of this interval began.
    pub interval_pending: u32,
    /// The least of (free buffers + refill entries that waited) when a call of this interval began; [`u32::MAX`] if unknown.
    pub interval_allocatable: u32,
    /// Keeps the state free of padding.
    pub reserved: u32,
    /// The longest starvation that ended in this interval, nanoseconds.
    pub interval_starvation_ns: u64,
    /// Refill entries consumed per call.
    pub consumed_by_call: [u64; BATCH_BUCKETS],
    /// Buffers yielded per call.
    pub yielded_by_call: [u64; BATCH_BUCKETS],
    /// Lengths of starvations that are over, microseconds.
    pub starvation_lengths: [u64; STARVATION_BUCKETS],
}

/// The bucket of a value: 0 for 0, `n` for values of `n` significant bits, the last one for all above.
#[inline]
pub const fn bucket(value: u64, buckets: usize) -> usize {
    let bits = (u64::BITS - value.leading_zeros()) as usize;
    if bits < buckets { bits } else { buckets - 1 }
}

const _: () = assert!(size_of::<State>() == 72 + 40 + 8 + 8 * (2 * BATCH_BUCKETS + STARVATION_BUCKETS));

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn buckets_begin_at_powers_of_two() {
        let values = [0, 1, 2, 3, 4, 255, 256, 1 << 40];
        assert_eq!(values.map(|value| bucket(value, 10)), [0, 1, 2, 2, 3, 8, 9, 9]);
    }
}
