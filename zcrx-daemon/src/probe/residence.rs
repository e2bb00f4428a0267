//! Reads how long sampled buffers were out, and lays it beside the queues of a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError},
};
use zcrx_common::residence::{Residence, Stamp};

use super::object;
use crate::model::{Histogram, KernelSnapshot, ResidenceCount};

pub(super) struct Reader {
    residences: HashMap<MapData, u64, Residence>,
    residents: HashMap<MapData, u64, Stamp>,
    /// Queues that had ended when buffers were last forgotten; `None` where that cannot be seen.
    ended: Option<u64>,
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self {
            residences: object::map(ebpf, "RESIDENCES")?,
            residents: object::map(ebpf, "RESIDENTS")?,
            ended: None,
        })
    }

    /// Gives each queue its counts. A queue of which nothing was sampled since the probe was attached has counts of zero.
    pub(super) fn join(&self, snapshot: &mut KernelSnapshot) {
        for queue in snapshot.queues.iter_mut().map(Arc::make_mut) {
            queue.residence = match self.residences.get(&queue.ifq, 0) {
                Ok(residence) => Some(count(&residence)),
                Err(MapError::KeyNotFound) => Some(ResidenceCount::default()),
                Err(_) => None,
            };
        }
    }

    /// Forgets queues whose end no program has seen, and then what is left of the buffers of queues that are gone: of these
    /// there can only be any if queues have ended, as many as `ended`, since the last time.
    pub(super) fn forget(&mut self, gone: &BTreeSet<u64>, ended: Option<u64>) {
        for ifq in gone {
            // What a program has removed meanwhile is gone as well.
            self.residences.remove(ifq).ok();
        }
        if gone.is_empty() && ended == self.ended {
            return;
        }
        self.ended = ended;
        // In this order: a queue has counts before it has a stamp.
        let stamps: Vec<(u64, Stamp)> = self.residents.iter().filter_map(Result::ok).collect();
        let since: BTreeMap<u64, u64> =
            self.residences.iter().filter_map(Result::ok).map(|(ifq, of)| (ifq, of.since_ns)).collect();
        for (niov, stamp) in stamps {
            if is_left_over(stamp, &since) {
                self.residents.remove(&niov).ok();
            }
        }
    }
}

/// Whether a buffer is of no queue that there is.
fn is_left_over(stamp: Stamp, since: &BTreeMap<u64, u64>) -> bool {
    since.get(&stamp.ifq).is_none_or(|since| stamp.since_ns < *since)
}

fn count(residence: &Residence) -> ResidenceCount {
    ResidenceCount {
        sampled: residence.sampled,
        unseen: residence.unseen + residence.overtaken,
        lost: residence.lost,
        times: Histogram::from_counts(residence.returns, residence.sum_ns / 1000),
    }
}

#[cfg(test)]
mod tests {
    use zcrx_common::residence::{BOUNDS_US, BUCKETS, bucket};

    use super::*;
    use crate::model::MICROSECONDS;

    #[test]
    fn a_buffer_is_left_over_when_its_queue_is_gone_or_another_has_its_address() {
        let since = BTreeMap::from([(0xa, 100)]);
        let stamp = |ifq, since_ns| Stamp { ifq, since_ns };
        assert!(!is_left_over(stamp(0xa, 100), &since));
        assert!(is_left_over(stamp(0xa, 99), &since));
        assert!(is_left_over(stamp(0xb, 100), &since));
    }

    #[test]
    fn both_sides_have_the_same_buckets() {
        let mut residence = Residence { sampled: 20, unseen: 1, overtaken: 2, ..Residence::default() };
        for bound in BOUNDS_US {
            residence.returns[bucket(bound * 1000)] += 1;
            residence.sum_ns += bound * 1000;
        }
        residence.returns[BUCKETS - 1] += 1;
        let counted = count(&residence);
        let buckets: Vec<_> = counted.times.cumulative(&MICROSECONDS).collect();
        let expected = BOUNDS_US.iter().zip(1..).map(|(bound, below)| (*bound as f64 / 1e6, below));
        assert_eq!(buckets, expected.collect::<Vec<_>>());
        assert_eq!((counted.times.count(), counted.unseen), (16, 3));
        let sum: u64 = BOUNDS_US.iter().sum();
        assert!((counted.times.sum(&MICROSECONDS) - sum as f64 / 1e6).abs() < 1e-9);
    }
}
