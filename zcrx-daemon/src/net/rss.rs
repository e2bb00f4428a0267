//! RSS tables: how one is made, in the words of `ethtool -X`, so that a step fits a table of any size.

use serde::{Deserialize, Serialize};

/// Queues beyond which a table is only listed: more than any NIC has.
const MOST_QUEUES: u32 = 1 << 16;

/// A way to fill an indirection table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// The driver's default: over all queues in turn.
    Default,
    /// Over some neighbouring queues in turn.
    Equal {
        /// First of them.
        start: u32,
        /// How many.
        count: u32,
    },
    /// In shares by queue, each queue's buckets side by side.
    Weight(Vec<u32>),
    /// Bucket by bucket: no ethtool command can say it.
    Table(Vec<u32>),
}

impl Spread {
    /// Over all queues but these. `None` if that leaves none.
    pub fn away_from(avoid: &[u32], queues: u32) -> Option<Self> {
        let rest: Vec<u32> = (0..queues).filter(|queue| !avoid.contains(queue)).collect();
        let (first, last) = (*rest.first()?, *rest.last()?);
        let count = rest.len() as u32;
        if last - first + 1 == count {
            return Some(Self::Equal { start: first, count });
        }
        Some(Self::Weight((0..=last).map(|queue| u32::from(rest.contains(&queue))).collect()))
    }

    /// The way a table was made, as simply as it can be said. With 0 for an unknown number of queues nothing is
    /// known to be the default.
    pub fn of(table: &[u32], queues: u32) -> Self {
        let (Some(low), Some(high)) = (table.iter().min(), table.iter().max()) else { return Self::Default };
        let mut ways = vec![Self::Equal { start: *low, count: (high - low).saturating_add(1) }];
        if queues > 0 {
            ways.insert(0, Self::Default);
        }
        // The table comes from the kernel or from a journal: what it holds must not decide how long this takes.
        if table.is_sorted() && *high < MOST_QUEUES {
            let mut shares = vec![0_u32; *high as usize + 1];
            for queue in table {
                shares[*queue as usize] += 1;
            }
            ways.push(Self::Weight(shares.iter().map(|share| (*share).min(1)).collect()));
            ways.push(Self::Weight(shares));
        }
        ways.into_iter()
            .find(|way| way.table(table.len(), queues) == table)
            .unwrap_or_else(|| Self::Table(table.to_vec()))
    }

    /// The table of that many entries, on an interface with that many receive queues.
    pub fn table(&self, entries: usize, queues: u32) -> Vec<u32> {
        let round_robin =
            |start: u32, count: u32| (0..entries).map(move |entry| start + entry as u32 % count.max(1));
        match self {
            Self::Default => round_robin(0, queues).collect(),
            Self::Equal { start, count } => round_robin(*start, *count).collect(),
            Self::Weight(shares) => weigh(shares, entries),
            Self::Table(table) => table.clone(),
        }
    }

    /// The same for ethtool.
    pub fn command(&self, interface: &str) -> String {
        match self {
            Self::Default => format!("ethtool -X {interface} default"),
            Self::Equal { start: 0, count } => format!("ethtool -X {interface} equal {count}"),
            Self::Equal { start, count } => format!("ethtool -X {interface} start {start} equal {count}"),
            Self::Weight(shares) => {
                let shares: Vec<String> = shares.iter().map(u32::to_string).collect();
                format!("ethtool -X {interface} weight {}", shares.join(" "))
            }
            Self::Table(_) => {
                format!(
                    "(ethtool has no command for this RSS table of {interface}; zcrxd sets it bucket by bucket)"
                )
            }
        }
    }
}

/// ethtool's own rounding, so that the command and the step give one table.
fn weigh(shares: &[u32], entries: usize) -> Vec<u32> {
    let sum: u64 = shares.iter().map(|share| u64::from(*share)).sum();
    if sum == 0 {
        return vec![0; entries];
    }
    let (mut queue, mut partial) = (0, u64::from(shares[0]));
    (0..entries as u64)
        .map(|entry| {
            while entry >= entries as u64 * partial / sum {
                queue += 1;
                partial += u64::from(shares[queue]);
            }
            queue as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn neighbours_share_in_turn_and_others_by_weight() {
        assert_eq!(Spread::away_from(&[1], 2), Some(Spread::Equal { start: 0, count: 1 }));
        assert_eq!(Spread::away_from(&[0], 4), Some(Spread::Equal { start: 1, count: 3 }));
        assert_eq!(Spread::away_from(&[1], 4), Some(Spread::Weight(vec![1, 0, 1, 1])));
        assert_eq!(Spread::away_from(&[1, 3], 4), Some(Spread::Weight(vec![1, 0, 1])));
        assert_eq!(Spread::away_from(&[0, 1], 2), None);
    }

    #[test]
    fn commands_are_ethtools() {
        let command = |avoid: &[u32]| Spread::away_from(avoid, 4).map(|spread| spread.command("eth0"));
        assert_eq!(command(&[3]).as_deref(), Some("ethtool -X eth0 equal 3"));
        assert_eq!(command(&[0]).as_deref(), Some("ethtool -X eth0 start 1 equal 3"));
        assert_eq!(command(&[2]).as_deref(), Some("ethtool -X eth0 weight 1 1 0 1"));
    }

    #[test]
    fn weights_round_as_ethtool_rounds_them() {
        // `ethtool -X IF weight 1 0 1 1` on a table of 8.
        assert_eq!(weigh(&[1, 0, 1, 1], 8), [0, 0, 2, 2, 2, 3, 3, 3]);
        assert_eq!(weigh(&[3, 1], 4), [0, 0, 0, 1]);
    }

    #[test]
    fn a_table_with_an_absurd_queue_is_listed_at_once() {
        for table in [vec![0, u32::MAX], vec![u32::MAX; 4], vec![0, MOST_QUEUES]] {
            let spread = Spread::of(&table, 4);
            assert_eq!(spread.table(table.len(), 4), table);
        }
    }

    proptest! {
        #[test]
        fn what_a_table_is_said_to_be_makes_that_table(
            table in prop::collection::vec(0_u32..6, 0..40),
            sorted in any::<bool>(),
            queues in 0_u32..8,
        ) {
            let mut table = table;
            if sorted {
                table.sort_unstable();
            }
            prop_assert_eq!(Spread::of(&table, queues).table(table.len(), queues), table);
        }

        #[test]
        fn no_bucket_leads_to_an_avoided_queue(
            avoid in prop::collection::btree_set(0_u32..8, 1..5),
            queues in 1_u32..9,
            entries in 8_usize..130,
        ) {
            let avoid: Vec<u32> = avoid.into_iter().collect();
            if let Some(spread) = Spread::away_from(&avoid, queues) {
                let table = spread.table(entries, queues);
                prop_assert!(table.iter().all(|queue| !avoid.contains(queue) && *queue < queues));
                // Every other queue keeps its share.
                prop_assert!((0..queues).all(|queue| avoid.contains(&queue) || table.contains(&queue)));
            } else {
                prop_assert!((0..queues).all(|queue| avoid.contains(&queue)));
            }
        }
    }
}
