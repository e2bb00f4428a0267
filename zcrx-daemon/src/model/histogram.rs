//! Distributions of values over a fixed number of buckets.

use serde::{Deserialize, Serialize};

/// Buckets of every histogram, the one without a bound included.
const BUCKETS: usize = 16;

/// Bounds of a histogram's buckets, and their unit.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Upper bounds, each included in its bucket, ascending; one more bucket has none.
    bounds: &'static [u64],
    /// Number of units in Prometheus' base unit. A divisor, so that 0.1 s is printed exactly.
    per_base: f64,
}

/// Times, in microseconds.
pub const MICROSECONDS: Scale = Scale {
    bounds: &[
        10, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000,
        30_000_000,
    ],
    per_base: 1e6,
};

/// Entries of a ring.
pub const ENTRIES: Scale =
    Scale { bounds: &[0, 1, 4, 16, 64, 256, 1024, 4096, 16384, 32768, 65536], per_base: 1.0 };

const _: () = assert!(MICROSECONDS.bounds.len() < BUCKETS && ENTRIES.bounds.len() < BUCKETS);

/// Values counted by bucket. Writer and reader use the same buckets, given by a [`Scale`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Creates a histogram from counts of another source in the buckets of a scale, and the sum in its units.
    pub const fn from_counts(counts: [u64; BUCKETS], sum: u64) -> Self {
        Self { counts, sum }
    }

    /// Counts a value several times.
    pub fn observe(&mut self, scale: &Scale, value: u64, times: u64) {
        // Never out of range: a scale has fewer bounds than there are buckets.
        self.counts[scale.bounds.partition_point(|bound| *bound < value)] += times;
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// Number of counted values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, in base units.
    pub fn sum(&self, scale: &Scale) -> f64 {
        self.sum as f64 / scale.per_base
    }

    /// Each upper bound in base units with the number of values up to it, the last bucket left out.
    pub fn cumulative(&self, scale: &Scale) -> impl Iterator<Item = (f64, u64)> {
        let per_base = scale.per_base;
        scale.bounds.iter().zip(&self.counts).scan(0, move |below, (bound, count)| {
            *below += count;
            Some((*bound as f64 / per_base, *below))
        })
    }

    /// Returns the sum of two histograms: of one queue before and after it was registered again.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        for (count, other) in self.counts.iter_mut().zip(other.counts) {
            *count += other;
        }
        self.sum = self.sum.saturating_add(other.sum);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_beyond_all_is_counted_too() {
        let mut histogram = Histogram::default();
        histogram.observe(&ENTRIES, 0, 1);
        histogram.observe(&ENTRIES, 4, 2);
        histogram.observe(&ENTRIES, 5, 1);
        histogram.observe(&ENTRIES, 1 << 40, 1);
        let buckets: Vec<_> = histogram.cumulative(&ENTRIES).collect();
        assert_eq!(buckets[..4], [(0.0, 1), (1.0, 1), (4.0, 3), (16.0, 4)]);
        assert_eq!(buckets.last(), Some(&(65536.0, 4)));
        assert_eq!(histogram.count(), 5);
    }

    #[test]
    fn times_come_out_in_seconds() {
        let mut histogram = Histogram::default();
        histogram.observe(&MICROSECONDS, 2_000_000, 2);
        assert!((histogram.sum(&MICROSECONDS) - 4.0).abs() < 1e-9);
        let up_to = |seconds: f64| {
            histogram.cumulative(&MICROSECONDS).find(|(bound, _)| (bound - seconds).abs() < 1e-9)
        };
        assert_eq!(up_to(1.0).map(|(_, count)| count), Some(0));
        assert_eq!(up_to(5.0).map(|(_, count)| count), Some(2));
    }

    #[test]
    fn scales_ascend() {
        for scale in [MICROSECONDS, ENTRIES] {
            assert!(scale.bounds.is_sorted_by(|lower, higher| lower < higher));
        }
    }

    #[test]
    fn two_lives_add_up() {
        let mut one = Histogram::default();
        one.observe(&ENTRIES, 3, 2);
        let mut other = Histogram::default();
        other.observe(&ENTRIES, 300, 1);
        let both = one.plus(&other);
        assert_eq!((both.count(), both.sum), (3, 306));
    }
}
