//! The vocabulary of the rules: what the history of a queue shows, computed once for all rules.

mod entries;
mod owner;
#[cfg(test)]
mod tests;
mod typical;

use std::cell::OnceCell;
use std::time::Duration;

use super::floors::{LEAKED_SHARE, Leak};
use super::history::History;
use super::step::Step;
use super::thresholds::{
    CONSIDERABLE, LASTING, LATEST, MOST, NOTHING_POSTED, PAUSE, POOL_CACHE, PROMPT, PROMPT_BEFORE, RECENT,
    SHALLOW, STARVED_SHARE, THROUGHOUT,
};
use crate::model::QueueSample;

pub use super::change::{Change, Returned};
pub(super) use super::change::{none, some};
pub use super::placement::Placement;
pub(super) use super::placement::without_device;
pub use owner::{Halt, OwnerActivity};
pub use typical::Typical;

/// What a history shows.
pub struct Facts<'h> {
    /// The history itself.
    pub history: &'h History,
    /// The newest sample.
    pub now: &'h QueueSample,
    /// Where the buffers are now.
    pub placement: Placement,
    typical: OnceCell<Typical>,
    /// What changed in the last two seconds or so.
    pub recent: Change,
    /// What came back in the last quarter of a second, or in the last step if that is longer.
    pub latest: Returned,
    /// What changed in the whole window.
    pub whole: Change,
    /// What the owner does.
    pub owner: OwnerActivity,
    /// The oldest sample of the window.
    oldest: &'h QueueSample,
}

/// Rises of a fast leak, at least: an owner that works in rounds is seen at growing points of its round a few times in a row.
const FAST_LEAK_RISES: usize = 7;

impl<'h> Facts<'h> {
    /// Of a history; `None` if that is empty.
    pub fn of(history: &'h History) -> Option<Self> {
        let now = history.last()?;
        let oldest = history.samples().next()?;
        let before = |time: Duration| {
            let since = now.at.saturating_sub(time);
            history.samples().rev().find(|sample| sample.at <= since).unwrap_or(oldest)
        };
        let recent = Change::between(before(RECENT), now);
        Some(Self {
            history,
            now,
            placement: history.steps().back()?.placement,
            typical: OnceCell::new(),
            recent,
            latest: Returned::between(before(LATEST), now),
            whole: Change::between(oldest, now),
            owner: OwnerActivity::of(history, &recent),
            oldest,
        })
    }

    /// Where the buffers were while the queue lacked some, on average over the last seconds.
    pub fn typical(&self) -> &Typical {
        self.typical.get_or_init(|| Typical::of(self.history))
    }

    /// The most references per buffer in any sample: a buffer's last fragment no longer shows that the buffer was shared.
    pub fn most_fragments(&self) -> Option<f64> {
        self.most(|placement| placement.fragments)
    }

    /// The fullest the refill ring was seen in the window, 0 to 1.
    pub fn fullest_refill(&self) -> Option<f64> {
        let seen = self.most(Placement::refill_fullness);
        seen.into_iter().chain(filled_meanwhile(self.oldest, self.now)).reduce(f64::max)
    }

    fn most(&self, read: fn(&Placement) -> Option<f64>) -> Option<f64> {
        self.history.steps().iter().filter_map(|step| read(&step.placement)).reduce(f64::max)
    }

    /// What each of the last samples shows, oldest first.
    pub fn steps(&self) -> impl DoubleEndedIterator<Item = &'h Step> {
        // The first sample shows no change.
        self.history.steps().iter().skip(1)
    }

    /// Buffers that an allocation could still get now.
    pub fn available(&self) -> Option<u64> {
        self.history.steps().back().and_then(|step| step.available)
    }

    /// Since when allocations have failed without a success, as the kernel's probe stamps it.
    pub fn starving_since(&self) -> Option<Duration> {
        self.now.kernel.as_ref()?.allocation?.starving_since
    }

    /// Whether the queue lacks buffers now: allocations fail, the last one failed, or the NIC has none and drops.
    pub fn starved(&self) -> bool {
        some(self.recent.failures)
            || self.starving_since().is_some()
            || self.software_starving()
            || self.dropping_with_nothing_posted()
            || self.copies_starve()
    }

    /// Whether a receive of the software interface queue waits for a buffer.
    pub fn software_starving(&self) -> bool {
        self.now.local.as_ref().and_then(|local| local.starving) == Some(true)
    }

    /// Whether the NIC drops packets and has next to nothing posted: starved, though nothing counts failed allocations.
    pub fn dropping_with_nothing_posted(&self) -> bool {
        some(self.recent.drops) && self.nothing_posted() == Some(true)
    }

    /// Whether the driver keeps its buffers posted because it can get no others: then it drops every packet.
    pub fn drops_every_packet(&self) -> bool {
        self.now.nic.keeps_posted && self.starving_since().is_some() && self.available() == Some(0)
    }

    /// Whether a queue without a device has next to no buffer to copy into, and data to copy.
    pub(in crate::diagnose) fn copies_starve(&self) -> bool {
        let few = self.placement.share(self.placement.free).is_some_and(|share| share <= SHALLOW);
        let waits = none(self.recent.bytes) && some(self.placement.unread_bytes);
        without_device(self.now) == Some(true)
            && (few && some(self.recent.enomem) || self.placement.free == Some(0) && waits)
    }

    /// Whether user space has most of the area, not in a moment but on average.
    pub fn mostly_with_user(&self) -> bool {
        let typical = self.typical();
        [typical.held, typical.completed, typical.stashed].into_iter().flatten().sum::<f64>() >= MOST
    }

    /// How long the recent starvations lasted on average, where they began and ended. Buffers that come back so late were
    /// with an owner, whatever the moments of the samples show.
    pub fn starvation_lasts(&self) -> Option<Duration> {
        let (starved, count) = self.recent.starved.zip(self.recent.starvations.filter(|&count| count > 0))?;
        Some(starved / u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Whether a full receive ring and a full cache leave less than a quarter of the area for everything else.
    pub fn ring_takes_all(&self) -> bool {
        let taken = self.now.nic.ring.map(|ring| u64::from(ring) + POOL_CACHE);
        self.placement.share(taken).is_some_and(|share| share >= 1.0 - CONSIDERABLE)
    }

    /// How long buffers stay with an owner that returns all of them between two samples: for longer than prompt, in an area that
    /// the receive ring leaves most of.
    pub fn kept_between_samples(&self) -> Option<Duration> {
        let lasts = self.starvation_lasts().filter(|&lasts| lasts > PROMPT)?;
        (some(self.recent.returned) && self.now.nic.ring.is_some() && !self.ring_takes_all()).then_some(lasts)
    }

    /// Whether the NIC has almost no buffers posted, compared with its ring, or fewer than its driver announces at a time: it drops
    /// packets that arrive. `None` where the
    /// snapshot does not show it.
    pub fn nothing_posted(&self) -> Option<bool> {
        let placement = &self.placement;
        if without_device(self.now) == Some(true) {
            return None;
        }
        let reference = self.now.nic.ring.map(u64::from).or(placement.total)?;
        let untold = u64::from(self.now.nic.posting_step.saturating_sub(1));
        let few = ((reference as f64 * NOTHING_POSTED) as u64).max(untold).max(1);
        // Without the sockets' figures, all that the kernel has bounds what is posted.
        if placement.posted.or(placement.kernel)? <= few {
            Some(true)
        } else {
            placement.posted.map(|_| false)
        }
    }

    /// Whether buffers came back just now.
    pub fn returning(&self) -> bool {
        some(self.latest.returned)
    }

    /// For how long nothing has come back.
    pub fn without_return(&self) -> Duration {
        let first = self.history.samples().next().map_or(self.now.at, |sample| sample.at);
        self.now.at.saturating_sub(self.history.returns().last.unwrap_or(first))
    }

    /// Whether no buffer has come back for long enough to mean something.
    pub fn returns_ended(&self) -> bool {
        self.recent.returned.is_some() && self.without_return() >= LASTING && !self.returns_in_bursts()
    }

    /// Whether nothing comes back now, but nothing did for about as long before, with much in the owner's hands, and
    /// then something came back after all: an owner that holds each buffer for seconds returns in bursts.
    pub fn returns_in_bursts(&self) -> bool {
        let pause = self.without_return();
        !pause.is_zero() && pause <= self.history.returns().longest_pause * 2
    }

    /// Whether an owner that had returned buffers all the time has only just stopped: it may be a pause.
    pub fn may_be_pausing(&self) -> bool {
        self.history.returns().lasted() >= PROMPT_BEFORE && self.without_return() < PAUSE
    }

    /// Whether most of what the owner holds piled up while it returned buffers. What a pause piles up comes without returns.
    pub fn piled_up_beside_returns(&self) -> bool {
        let held = self.history.steps().back().and_then(|step| step.held).unwrap_or(0);
        held > 0 && self.history.piled_up().references as f64 >= MOST * held as f64
    }

    /// References that were lost too fast for the floors to show: most of what the owner of a starved queue holds piled up in small
    /// rises beside many returns.
    pub fn fast_leak(&self) -> Option<u64> {
        let piled_up = self.history.piled_up();
        let is_leak = self.now.local.is_none()
            && self.starved()
            && self.returning()
            && self.piled_up_beside_returns()
            && piled_up.rises >= FAST_LEAK_RISES
            && piled_up.share <= LEAKED_SHARE
            && piled_up.in_small_rises as f64 >= MOST * piled_up.references as f64;
        is_leak.then_some(piled_up.references)
    }

    /// The share of the unread payload in sockets for which no receive is armed, 0 to 1; `None` where the kernel does not
    /// show that.
    pub fn unarmed(&self) -> Option<f64> {
        let backlog = self.now.kernel.as_ref()?.sockets?;
        let unarmed = backlog.unarmed_unread_bytes?;
        (backlog.unread_bytes > 0).then(|| (unarmed as f64 / backlog.unread_bytes as f64).min(1.0))
    }

    /// The share of the area that waits in sockets for the owner to enter the kernel: a receive is armed, or, where that is
    /// not known, the owner received before and now does nothing at all.
    pub fn awaited_in_sockets(&self) -> f64 {
        let in_sockets = self.typical().sockets.unwrap_or(0.0);
        match self.unarmed() {
            Some(unarmed) => in_sockets * (1.0 - unarmed),
            None if self.owner.ever_active && self.owner.active == Some(false) => in_sockets,
            // What no receive is armed for stays; what comes and goes waits for the owner.
            None => (in_sockets - self.stays_in_sockets().unwrap_or(in_sockets)).max(0.0),
        }
    }

    /// The share of the area that stays in sockets at most, as far as samples and allocations show it: payload without an armed
    /// receive does not leave them.
    pub fn stays_in_sockets(&self) -> Option<f64> {
        let (least, _) = self.typical().sockets_between?;
        Some(least.min(1.0 - self.turned_over().unwrap_or(0.0)))
    }

    /// The share of the area that was allocated between one starvation and the next, on average, if the queue starves for a
    /// considerable part of the time: no buffer of it stays where it is. What was allocated before the first starvation may.
    fn turned_over(&self) -> Option<f64> {
        let recent = &self.recent;
        let between = recent.starvations?.checked_sub(1).filter(|&count| count > 0)?;
        let yielded = recent.yielded?.saturating_sub(self.placement.total?);
        let starved = recent.starved?.as_secs_f64() >= STARVED_SHARE * recent.span.as_secs_f64();
        self.placement.share(Some(yielded / between)).filter(|_| starved)
    }

    /// The least that the owner held in the last seconds, in buffers: what it works on goes up and down, what it lost
    /// stays. `None` where it was not known all that time.
    pub fn held_throughout(&self) -> Option<u64> {
        let since = self.now.at.saturating_sub(THROUGHOUT);
        let oldest = self.history.steps().front()?;
        if oldest.at > since {
            return None;
        }
        let held = self.history.steps().iter().rev().take_while(|step| step.at >= since);
        held.map(|step| step.placement.held).reduce(|least, held| Some(least?.min(held?))).flatten()
    }

    /// The leak that the history shows: buffers that the owner took and did not return.
    pub fn leak(&self) -> Option<&'h Leak> {
        let floors = self.history.floors();
        floors.slow().or_else(|| floors.shown())
    }

    /// Whether the owner leaves completions unread: many wait, and it does not get through all of them within the recent past.
    /// Completions that wait at one moment beside many that were read are those of a moment, or not of this queue.
    pub fn leaves_completions(&self) -> bool {
        let turned_over = self.recent.cq_read >= self.placement.cq_depth.map(|depth| depth * 2);
        self.owner_stopped_reading()
            || self.cq_shallow() == Some(false) && !(turned_over && self.recent_is_long_enough())
    }

    /// Whether completions wait and the owner has read none recently.
    pub fn owner_stopped_reading(&self) -> bool {
        some(self.placement.cq_depth) && none(self.recent.cq_read) && self.recent_is_long_enough()
    }

    /// Whether the recent past covers enough time to say that something did not happen in it.
    pub fn recent_is_long_enough(&self) -> bool {
        self.recent.span >= RECENT / 2
    }

    /// Whether the owner reads its completions: few wait, by the size of the area and by that of the completion queue.
    /// `None` where that is unknown.
    pub fn cq_shallow(&self) -> Option<bool> {
        let placement = &self.placement;
        let of_area = placement.share(placement.completed)?;
        let of_queue = placement
            .cq_depth
            .zip(placement.cq_entries)
            .map(|(depth, entries)| depth as f64 / entries as f64);
        // A queue of a few entries is deep with each completion.
        let deep = of_queue.is_some_and(|share| share >= MOST) && placement.cq_depth >= Some(64);
        Some(of_area <= SHALLOW && !deep)
    }

    /// Whether hardly any refill entry waits. `None` where that is unknown.
    pub fn refill_shallow(&self) -> Option<bool> {
        Some(self.placement.share(self.placement.pending)? <= SHALLOW)
    }

    /// Whether the refill ring was seen full in the window.
    pub fn refill_was_full(&self) -> bool {
        self.fullest_refill().is_some_and(|fullest| fullest >= 1.0)
            || self.history.steps().iter().any(|step| step.refill_full)
    }
}

/// How full the kernel found the refill ring at most when it came for entries, 0 to 1, if it found more than ever before
/// within the window.
fn filled_meanwhile(oldest: &QueueSample, now: &QueueSample) -> Option<f64> {
    let fullest = |sample: &QueueSample| Some(sample.kernel.as_ref()?.allocation?.fullest);
    let entries = now.kernel.as_ref()?.refill?.entries;
    let (before, now) = (fullest(oldest)?, fullest(now)?);
    (entries > 0 && now > before).then(|| f64::from(now.min(entries)) / f64::from(entries))
}
