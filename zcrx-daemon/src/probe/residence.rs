//! Reads how long sampled buffers were out, and lays it beside the queues of a snapshot.

use std::collections::BTreeSet;

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
}

impl Reader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Option<Self> {
        Some(Self {
            residences: object::map(ebpf, "RESIDENCES")?,
            residents: object::map(ebpf, "RESIDENTS")?,
        })
    }

    /// Gives each queue its counts. A queue of which nothing was sampled since the probe was attached has counts of zero.
    pub(super) fn join(&self, snapshot: &mut KernelSnapshot) {
        for queue in &mut snapshot.queues {
            queue.residence = match self.residences.get(&queue.ifq, 0) {
                Ok(residence) => Some(count(&residence)),
                Err(MapError::KeyNotFound) => Some(ResidenceCount::default()),
                Err(_) => None,
            };
        }
    }

    /// Forgets queues whose end no program has seen, and their buffers.
    pub(super) fn forget(&mut self, gone: &BTreeSet<u64>) {
        if gone.is_empty() {
            return;
        }
        let stamps = self.residents.iter().filter_map(Result::ok);
        let left: Vec<u64> =
            stamps.filter(|(_, stamp)| gone.contains(&stamp.ifq)).map(|(niov, _)| niov).collect();
        // What a program has removed meanwhile is gone as well.
        for niov in left {
            self.residents.remove(&niov).ok();
        }
        for ifq in gone {
            self.residences.remove(ifq).ok();
        }
    }
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
