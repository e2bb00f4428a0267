//! How long sampled buffers of each interface queue are out: from the completion that hands one to user space until the
//! kernel has it back in the page pool.

/// Largest number of queues counted separately at one time. Samples of further queues count as lost.
pub const QUEUES: u32 = 512;

/// Sampled buffers of all queues together that may be out at one time. Beyond that, they count as lost.
pub const BUFFERS: u32 = 16384;

/// Buckets of the histogram: one for each bound, and one for what is beyond them all.
pub const BUCKETS: usize = BOUNDS_US.len() + 1;

/// Upper bounds of the buckets, each included in its own, microseconds.
pub const BOUNDS_US: [u64; 15] = [
    10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// A sampled buffer that is out, by the address of its `struct net_iov`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Address of the kernel's `struct io_zcrx_ifq`.
    pub ifq: u64,
    /// `bpf_ktime_get_ns` at the delivery.
    pub since_ns: u64,
}

/// Sampled buffers of one queue. Those that are out now are `sampled` less `returns`, `unseen` and `overtaken`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// `bpf_ktime_get_ns` when the first of them was. Stamps older than that are of a queue that had the same address.
    pub since_ns: u64,
    /// Buffers that were stamped at their delivery. Written by the ring's thread, like the next two.
    pub sampled: u64,
    /// Of these, stamps that gave way to a newer one of the same buffer: it had come back unseen, or its completion had
    /// found no room and was tried again.
    pub overtaken: u64,
    /// Buffers that would have been stamped, had there been room.
    pub lost: u64,
    /// Of the sampled, those that were found on the freelist: they had returned unseen. Written by the CPU that allocates for
    /// the page pool, like all that follow.
    pub unseen: u64,
    /// Time for which buffers that were seen to come back had been out, all together, nanoseconds.
    pub sum_ns: u64,
    /// How many these were, by how long.
    pub returns: [u64; BUCKETS],
}

/// The bucket of a time in nanoseconds. Compared in nanoseconds, so that nothing beyond a bound is rounded down to it.
#[inline]
pub fn bucket(ns: u64) -> usize {
    let mut place = 0;
    while place < BOUNDS_US.len() && ns > BOUNDS_US[place] * 1000 {
        place += 1;
    }
    place
}

/// Hashes of 32 bits below this are sampled: one in so many; none for 0.
pub const fn limit(one_in: u32) -> u64 {
    if one_in == 0 { 0 } else { (1 << 32) / one_in as u64 }
}

/// A hash of 32 bits of a buffer's address. Addresses of neighbours differ by the size of a `struct net_iov`; the golden
/// ratio spreads such a sequence evenly over all values.
#[inline]
pub const fn hash(niov: u64) -> u64 {
    niov.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

const _: () = assert!(size_of::<Stamp>() == 16);
const _: () = assert!(size_of::<Residence>() == 48 + 8 * BUCKETS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_a_nanosecond_more_does_not() {
        assert_eq!(bucket(0), 0);
        for (place, bound) in BOUNDS_US.iter().enumerate() {
            assert_eq!(bucket(bound * 1000), place);
            assert_eq!(bucket(bound * 1000 + 1), place + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn one_in_so_many_neighbours_is_sampled() {
        for one_in in [1, 2, 3, 16, 64, 1000] {
            let sampled = (0..65536_u64)
                .filter(|place| hash(0xffff_8881_0420_0000 + place * 64) < limit(one_in))
                .count() as u64;
            let expected = 65536 / u64::from(one_in);
            assert!(sampled.abs_diff(expected) <= expected / 10 + 1, "{sampled} of 65536, one in {one_in}");
        }
        assert_eq!(limit(0), 0);
    }
}
