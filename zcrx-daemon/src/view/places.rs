//! The places of buffers and the number of buffers in each: the data of the bars.

use crate::diagnose::facts::Placement;

/// Places of a buffer, in the order of the bars: places without allocatable buffers come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Read by the application and not returned.
    Held,
    /// Returned by the application, and not published because the refill ring is full.
    Stashed,
    /// In completions that the application has not read.
    Completed,
    /// In sockets, not received.
    Sockets,
    /// Posted to the NIC, or in the page pool's cache.
    Posted,
    /// In the refill ring: returned, and not fetched by the kernel.
    Refill,
    /// On the freelist.
    Free,
    /// Unknown place; for the software interface queue, free or being filled.
    Elsewhere,
}

impl Place {
    /// Name beside a bar.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Held => "held by the application",
            Self::Stashed => "waiting for the refill ring",
            Self::Completed => "in unread completions",
            Self::Sockets => "in unread sockets",
            Self::Posted => "with NIC and page pool",
            Self::Refill => "in the refill ring",
            Self::Free => "on the freelist",
            Self::Elsewhere => "free or in flight",
        }
    }

    /// The name of its style on the page.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Stashed => "stashed",
            Self::Completed => "unread",
            Self::Sockets => "socket",
            Self::Posted => "nic",
            Self::Refill => "waiting",
            Self::Free => "free",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// Number of buffers in each place. Counts each buffer of the area once: figures that were read one after the other can
/// overlap, and then the later place is reduced. `None` where the size of the area is unknown.
pub(crate) fn places(placement: &Placement) -> Option<Vec<(Place, u64)>> {
    let mut rest = placement.total.filter(|&total| total > 0)?;
    let known = [
        (Place::Held, placement.held),
        (Place::Stashed, placement.stashed.filter(|&stashed| stashed > 0)),
        (Place::Completed, placement.completed),
        (Place::Sockets, placement.sockets),
        (Place::Posted, placement.posted.or(placement.kernel)),
        (Place::Refill, placement.pending),
        (Place::Free, placement.free),
    ];
    let mut found = Vec::new();
    for (place, buffers) in known {
        let Some(buffers) = buffers else { continue };
        let buffers = buffers.min(rest);
        rest -= buffers;
        found.push((place, buffers));
    }
    if rest > 0 {
        found.push((Place::Elsewhere, rest));
    }
    Some(found)
}

/// Distributes the cells of a bar. Each non-empty place gets at least one cell, while there are cells; the sum is
/// `cells`, if any place is not empty.
pub(crate) fn cells(buffers: &[u64], cells: usize) -> Vec<usize> {
    let total: u64 = buffers.iter().sum();
    if total == 0 {
        return vec![0; buffers.len()];
    }
    let exact: Vec<f64> = buffers.iter().map(|&part| part as f64 * cells as f64 / total as f64).collect();
    let mut given: Vec<usize> = exact
        .iter()
        .zip(buffers)
        .map(|(share, &part)| (share.floor() as usize).max(usize::from(part > 0)))
        .collect();
    // The place furthest below its share gets a cell, or the one furthest above loses one.
    let distance = |given: &[usize], index: usize| exact[index] - given[index] as f64;
    while given.iter().sum::<usize>() != cells {
        let more = given.iter().sum::<usize>() < cells;
        let candidates = (0..given.len()).filter(|&index| more || given[index] > 0);
        let order = |&a: &usize, &b: &usize| distance(&given, a).total_cmp(&distance(&given, b));
        let found = if more { candidates.max_by(order) } else { candidates.min_by(order) };
        let Some(index) = found else { break };
        given[index] = if more { given[index] + 1 } else { given[index] - 1 };
    }
    given
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bar_is_full_and_shows_what_is_there() {
        assert_eq!(cells(&[1, 0, 9999], 10), [1, 0, 9]);
        assert_eq!(cells(&[1, 1, 1], 10), [3, 3, 4]);
        assert_eq!(cells(&[0, 0], 10), [0, 0]);
        assert_eq!(cells(&[1, 1, 1, 1], 2).iter().sum::<usize>(), 2);
    }

    proptest! {
        #[test]
        fn bars_are_as_long_as_they_should_be(parts in prop::collection::vec(0_u64..100_000, 1..8), width in 0_usize..200) {
            let given = cells(&parts, width);
            let expected = if parts.iter().all(|&part| part == 0) { 0 } else { width };
            prop_assert_eq!(given.iter().sum::<usize>(), expected);
            prop_assert!(given.iter().zip(&parts).all(|(&cells, &part)| part > 0 || cells == 0));
        }

        #[test]
        fn each_buffer_is_somewhere_once(total in 1_u64..10_000, held in 0_u64..20_000, free in prop::option::of(0_u64..20_000)) {
            let placement = Placement { total: Some(total), held: Some(held), free, ..Placement::default() };
            let found = places(&placement).expect("the total is known");
            prop_assert_eq!(found.iter().map(|(_, buffers)| buffers).sum::<u64>(), total);
        }
    }
}
