//! Which area and which refill ring would carry the load.

use serde::{Deserialize, Serialize};

use super::{Answer, PAST, user};
use crate::diagnose::facts::{Facts, Placement, some};
use crate::diagnose::thresholds::{CONSIDERABLE, HEADROOM, MOST, POOL_CACHE};
use crate::diagnose::words;
use crate::model::QueueSample;

/// Sizes that would carry the load of the window, with headroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Area, buffers.
    pub area_buffers: u64,
    /// The same in bytes; `None` where the size of a buffer is unknown.
    pub area_bytes: Option<u64>,
    /// Refill ring, entries: a power of two.
    pub refill_entries: u32,
    /// Packets were lost in the window for want of a buffer: how many more would have been in use at once is not seen, and
    /// the area may have to be larger yet.
    #[serde(default)]
    pub at_least: bool,
}
/// The kernel takes no more entries (`IO_RQ_MAX_ENTRIES`).
const MOST_REFILL_ENTRIES: u64 = 32_768;
pub(super) fn sizes(facts: &Facts<'_>, arrivals: Option<f64>, returns: Option<f64>) -> Answer<Sizes> {
    let peak = |read: &dyn Fn(&QueueSample) -> Option<u64>| facts.window.samples().filter_map(read).max();
    let Some(user_peak) = peak(&user) else {
        return Answer::Unknown("what user space holds is unknown".to_owned());
    };
    if let (Some(arrivals), Some(returns)) = (arrivals, returns)
        && arrivals > returns * 1.05
        && !facts.starved()
    {
        return Answer::Unknown(format!(
            "no size is large enough: buffers go out at {} and come back at {}",
            words::rate(arrivals),
            words::rate(returns)
        ));
    }
    if facts.starved() && mostly_with_user(facts) {
        // A ring with an entry for each reference there can be never has a return that does not fit; what of the area is
        // away for other reasons, such an owner does not show.
        if let (true, None, Some(total)) = (facts.refill_was_full(), &facts.now.local, facts.placement.total)
        {
            let area_bytes = facts.now.buffer_bytes.map(|buffer| total * buffer);
            let refill_entries = entries_for(facts, total);
            return Answer::Known(Sizes {
                area_buffers: total,
                area_bytes,
                refill_entries,
                at_least: harmed(facts),
            });
        }
        return Answer::Unknown(
            "the owner has as much as it can get: how much more it would take is not seen while it starves"
                .to_owned(),
        );
    }
    let has_device = facts.now.kernel.as_ref().is_some_and(|kernel| kernel.pool.is_some());
    let ring = match (has_device, facts.now.nic.ring) {
        (true, Some(ring)) => u64::from(ring) + POOL_CACHE,
        (false, _) => 0,
        (true, None) => return Answer::Unknown("the size of the receive ring is unknown".to_owned()),
    };
    let sockets_peak = peak(&|sample| Placement::of(sample).sockets).unwrap_or(0);
    if user_peak == 0 && sockets_peak == 0 && !harmed(facts) {
        return Answer::Unknown("no sample shows a buffer in use".to_owned());
    }
    let backlog = facts.now.kernel.as_ref().and_then(|kernel| kernel.sockets);
    // Sockets that take much of the area will take all that their receive buffers allow; and where packets were lost, they
    // could not take what they would. What they have may then be received, and as much again may come.
    let much = facts.placement.share(Some(sockets_peak)) >= Some(CONSIDERABLE);
    let sockets = match (backlog, facts.now.buffer_bytes) {
        (Some(backlog), Some(buffer)) if much || harmed(facts) => {
            let all = backlog.limit_bytes.div_ceil(bytes_in_buffer(facts, buffer)) as f64;
            if harmed(facts) { all * 2.0 } else { all }
        }
        _ => sockets_peak as f64 * HEADROOM,
    };
    let mut area_buffers = (ring as f64 + user_peak as f64 * HEADROOM + sockets).ceil() as u64;
    // Packets were lost for want of buffers that no sample shows in use: the peaks lie between the samples.
    if let Some(total) = facts.placement.total.filter(|_| harmed(facts)) {
        area_buffers = area_buffers.max(total * 2);
    }
    // With a full receive ring, user space can have the rest of the area and no more.
    let refill_entries = entries_for(facts, area_buffers - ring);
    Answer::Known(Sizes {
        area_buffers,
        area_bytes: facts.now.buffer_bytes.map(|buffer| area_buffers * buffer),
        refill_entries,
        at_least: harmed(facts),
    })
}

/// Payload in a buffer on average: small packets leave most of it empty.
fn bytes_in_buffer(facts: &Facts<'_>, buffer: u64) -> u64 {
    let fragments = facts.most_fragments.unwrap_or(1.0);
    let returned = facts.whole.returned.filter(|&returned| returned > 0);
    let seen =
        facts.whole.bytes.zip(returned).map(|(bytes, returned)| bytes as f64 / returned as f64 * fragments);
    seen.map_or(buffer, |seen| (seen as u64).min(buffer)).max(1)
}

/// Entries of a refill ring into which the returns of so many buffers fit at once.
fn entries_for(facts: &Facts<'_>, buffers: u64) -> u32 {
    let references = buffers as f64 * facts.most_fragments.unwrap_or(1.0);
    (references.ceil() as u64).max(64).next_power_of_two().min(MOST_REFILL_ENTRIES) as u32
}

/// Whether user space has most of the area, not in a moment but on average.
fn mostly_with_user(facts: &Facts<'_>) -> bool {
    let shares: Vec<f64> = facts
        .window
        .samples()
        .rev()
        .take_while(|sample| facts.now.at.saturating_sub(sample.at) <= PAST)
        .filter_map(|sample| facts.placement.share(user(sample)))
        .collect();
    !shares.is_empty() && shares.iter().sum::<f64>() / shares.len() as f64 >= MOST
}

/// Whether allocations failed and packets were lost in the window.
fn harmed(facts: &Facts<'_>) -> bool {
    some(facts.whole.failures) && some(facts.whole.drops)
}
