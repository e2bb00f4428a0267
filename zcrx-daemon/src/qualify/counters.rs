//! The driver's counters, before and after.

use std::collections::BTreeMap;

use super::report::MovedCounter;
use super::target::Target;
use crate::net::{self, Netlink, kernel_index};

/// Every counter of the interface that zcrxd can read, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// Reads the queue's statistics and what `ethtool -S` shows; what cannot be read is left out. Empty if nothing can be read.
    pub(super) fn read(target: &Target) -> Self {
        let mut counters: BTreeMap<String, u64> =
            net::statistics(&target.interface).unwrap_or_default().into_iter().collect();
        let index = kernel_index(&target.interface);
        let stats = Netlink::new().queue_stats(index).unwrap_or_default();
        let queue =
            stats.into_iter().find(|stats| Some(stats.ifindex) == index && stats.queue == target.queue);
        if let Some(queue) = queue {
            let named = [
                ("qstats rx-alloc-fail", queue.alloc_fail),
                ("qstats rx-hw-drops", queue.hw_drops),
                ("qstats rx-hw-drop-overruns", queue.hw_drop_overruns),
            ];
            counters.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        Self(counters)
    }

    /// Whether no counter could be read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counters of failures that changed: those of packets and bytes change in any traffic and say nothing.
    pub(super) fn since(&self, before: &Self) -> Vec<MovedCounter> {
        const WORDS: [&str; 10] =
            ["alloc", "drop", "discard", "fail", "no_buf", "out_of_buf", "oom", "overrun", "miss", "starv"];
        let changed = self.0.iter().filter_map(|(name, now)| {
            let change = now.wrapping_sub(*before.0.get(name)?).cast_signed();
            let lower = name.to_lowercase();
            let about_failures = WORDS.iter().any(|word| lower.contains(word));
            (change != 0 && about_failures).then(|| MovedCounter { name: name.clone(), change })
        });
        changed.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_that_changed_are_listed() {
        let counters = |values: &[(&str, u64)]| {
            Counters(values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())
        };
        let before = counters(&[("rx_packets", 1), ("rx_drops", 2), ("rx_buf_alloc_fail[1]", 7)]);
        let after =
            counters(&[("rx_packets", 9), ("rx_drops", 2), ("rx_buf_alloc_fail[1]", 5), ("new_drops", 1)]);
        let moved = after.since(&before);
        assert_eq!(moved, [MovedCounter { name: "rx_buf_alloc_fail[1]".to_owned(), change: -2 }]);
    }
}
