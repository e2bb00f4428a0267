//! Places of the buffers while the queue lacked buffers.

use std::time::Duration;

use crate::diagnose::change::some;
use crate::diagnose::history::History;
use crate::diagnose::step::Step;

/// Time over which places are averaged: a single sample may show any point of the owner's loop.
const AVERAGED: Duration = Duration::from_secs(5);

/// Shares of the area, 0 to 1, averaged over the samples of the last seconds in which allocations or copies failed; over the newest
/// alone where none did. `None` where a place is unknown in one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Typical {
    /// Held by the owner's code.
    pub held: Option<f64>,
    /// Returned by the owner, without room in the refill ring.
    pub stashed: Option<f64>,
    /// In completions that the owner has not read.
    pub completed: Option<f64>,
    /// In sockets.
    pub sockets: Option<f64>,
    /// Minimum and maximum in sockets: payload without an armed receive does not leave them. Of an owner that comes and goes, over
    /// all samples.
    pub sockets_between: Option<(f64, f64)>,
    /// In the refill ring.
    pub pending: Option<f64>,
    /// Posted to the NIC or in the page pool's cache.
    pub posted: Option<f64>,
    /// Largest error of the places, as a share of the area: the queue moved while the snapshot read it.
    pub error: Option<f64>,
    /// Number of averaged samples.
    pub samples: usize,
}

impl Typical {
    pub(super) fn of(history: &History) -> Self {
        let steps = history.steps();
        let Some(newest) = steps.back() else { return Self::default() };
        let since = newest.at.saturating_sub(AVERAGED);
        let lacked = |step: &&Step| {
            some(step.change.failures)
                || step.starving_since.is_some()
                || step.software_starving
                || some(step.change.enomem)
        };
        let recent = || steps.iter().rev().take_while(|step| step.at >= since);
        let mut chosen: Vec<&Step> = recent().filter(lacked).collect();
        if chosen.is_empty() {
            chosen.push(newest);
        }
        let average = |read: fn(&Step) -> Option<u64>| {
            let sum = chosen.iter().map(|step| step.placement.share(read(step))).sum::<Option<f64>>();
            Some(sum? / chosen.len() as f64)
        };
        // Each sample may find the owner away, at any point of its round.
        let comes_and_goes: Vec<&Step> =
            if history.absences().longest.is_zero() { chosen.clone() } else { steps.iter().collect() };
        Self {
            held: average(|step| step.placement.held),
            stashed: average(|step| step.placement.stashed),
            completed: average(|step| step.placement.completed),
            sockets: average(|step| step.placement.sockets),
            sockets_between: comes_and_goes
                .iter()
                .map(|step| step.placement.share(step.placement.sockets))
                .map(|share| share.map(|share| (share, share)))
                .reduce(|a, b| Some((a?.0.min(b?.0), a?.1.max(b?.1))))
                .flatten(),
            pending: average(|step| step.placement.pending),
            posted: average(|step| step.placement.posted.or(step.placement.kernel)),
            error: average(|step| step.placement.error),
            samples: chosen.len(),
        }
    }
}
