//! Whether anything is wrong with a queue, and since when.
//!
//! Healthy queues look alarming: a freelist at zero, a page pool with everything in flight, a ring that is never quite
//! full, a failed allocation now and then. So a trouble is told only once it has lasted ([`LASTING`]) and there is
//! proof that somebody is harmed: dropped packets, a NIC with nothing posted, receives that end with an error, or
//! memory that does not come back.

use std::time::Duration;

use super::facts::{Change, Facts, held_references, none, some, without_device};
use super::thresholds::{
    CONSIDERABLE, IDLE_LEAK, LASTING, LASTING_WITHOUT_DROPS, LEAK_GROWTH, MOST, NEGLIGIBLE, PINNED, RECENT,
    TREND,
};
use super::words;
use crate::model::{Alarm, QueueSample, Trouble};

/// What is wrong, worst first; nothing for a healthy queue.
pub fn alarms(facts: &Facts<'_>) -> Vec<Alarm> {
    let checks =
        [starving, stalled, dropping, copy_livelock, cq_exhausted, missteered, overflowing, leaking, pinned];
    checks.iter().filter_map(|check| check(facts)).collect()
}

/// When something was seen in the steps of the recent past.
#[derive(Clone, Copy)]
struct Activity {
    first: Duration,
    last: Duration,
    steps: u32,
}

impl Activity {
    /// Of the steps that ended within the time before the newest sample, and in which `seen` holds.
    fn within(
        facts: &Facts<'_>,
        time: Duration,
        seen: impl Fn(&Change, &QueueSample) -> bool,
    ) -> Option<Self> {
        let since = facts.now.at.saturating_sub(time);
        let mut found: Option<Self> = None;
        for (earlier, later) in facts.window.steps().filter(|(_, later)| later.at > since) {
            if seen(&Change::between(earlier, later), later) {
                let so_far = found.get_or_insert(Self { first: earlier.at, last: later.at, steps: 0 });
                so_far.last = later.at;
                so_far.steps += 1;
            }
        }
        found
    }

    fn lasted(&self, time: Duration) -> bool {
        self.steps >= 2 && self.last.saturating_sub(self.first) >= time
    }

    const fn alarm(self, trouble: Trouble, words: String) -> Alarm {
        Alarm { trouble, since: self.first, last: self.last, words }
    }
}

/// For how long `quiet` has held without a break, up to now.
fn quiet_for(facts: &Facts<'_>, quiet: impl Fn(&Change) -> bool) -> Duration {
    let broken = facts
        .window
        .steps()
        .rev()
        .find(|(earlier, later)| !quiet(&Change::between(earlier, later)))
        .map(|(_, later)| later.at)
        .or_else(|| facts.window.samples().next().map(|oldest| oldest.at));
    facts.now.at.saturating_sub(broken.unwrap_or(facts.now.at))
}

/// Whether the NIC has (next to) nothing posted: whoever sends, loses.
fn nothing_posted(facts: &Facts<'_>) -> Option<bool> {
    // Without the sockets' figures, all that the kernel has bounds what is posted.
    let placement = &facts.placement;
    let share = placement.share(placement.posted.or(placement.kernel))?;
    if share <= NEGLIGIBLE { Some(true) } else { placement.posted.map(|_| false) }
}

/// Whether somebody is harmed since then: packets dropped, or nothing posted. `None` where neither is known.
fn harmed_since(facts: &Facts<'_>, since: Duration) -> Option<bool> {
    let drops = facts
        .window
        .steps()
        .filter(|(earlier, _)| earlier.at >= since)
        .map(|(earlier, later)| Change::between(earlier, later).drops)
        .reduce(|so_far, drops| Some(so_far? + drops?))
        .flatten();
    match (drops, nothing_posted(facts)) {
        (Some(1..), _) | (_, Some(true)) => Some(true),
        (None, None) => None,
        _ => Some(false),
    }
}

fn starving(facts: &Facts<'_>) -> Option<Alarm> {
    let Some(since) = facts.starving_since() else { return software_starving(facts) };
    let lasted = facts.now.at.saturating_sub(since);
    let failed_again = Activity::within(facts, RECENT, |change, later| {
        some(change.failures) && later.at.saturating_sub(change.span) >= since
    });
    let harmed = match harmed_since(facts, since) {
        Some(harmed) => harmed,
        None if none(facts.recent.bytes) => failed_again.is_some(),
        None => failed_again.is_some() && lasted >= LASTING_WITHOUT_DROPS,
    };
    if lasted < LASTING || !harmed || some(facts.recent.yielded) && failed_again.is_none() {
        return None;
    }
    // A NIC that is not asked any more while buffers wait is stalled, which is another check's to tell.
    if stalled(facts).is_some() {
        return None;
    }
    let words = format!(
        "no allocation has succeeded for {}{}",
        words::time(lasted),
        facts.recent.failures.map_or_else(String::new, |failures| format!(
            ", {failures} failed in {}",
            words::recently(facts)
        ))
    );
    Some(Alarm { trouble: Trouble::Starving, since, last: facts.now.at, words })
}

/// The software interface queue says itself that a receive waits. One sample says little: a sink that keeps up with a
/// fast sender is often caught in the act. One long wait, or many samples, say enough.
fn software_starving(facts: &Facts<'_>) -> Option<Alarm> {
    let mut waiting = facts
        .window
        .samples()
        .rev()
        .take_while(|sample| sample.local.as_ref().and_then(|own| own.starving) == Some(true));
    let newest = waiting.next()?;
    let (count, oldest) = waiting.fold((1, newest), |(count, _), sample| (count + 1, sample));
    let lasted = newest.at.saturating_sub(oldest.at);
    let one_wait = none(Change::between(oldest, newest).failures);
    if lasted < LASTING || !(one_wait || count >= 3 && lasted >= LASTING * 2) {
        return None;
    }
    let words = format!("a receive has waited for a buffer for {}", words::time(lasted));
    Some(Alarm { trouble: Trouble::Starving, since: oldest.at, last: newest.at, words })
}

fn stalled(facts: &Facts<'_>) -> Option<Alarm> {
    let placement = &facts.placement;
    let waiting = placement.refill_depth.unwrap_or(0) + placement.free.unwrap_or(0);
    if without_device(facts.now) == Some(true) {
        let waits = placement.free == Some(0) && waiting > 0 && some(placement.sockets);
        let quiet = quiet_for(facts, |change| none(change.bytes));
        let since = facts.now.at.saturating_sub(quiet);
        return (waits && quiet >= LASTING).then(|| Alarm {
            trouble: Trouble::Stalled,
            since,
            last: facts.now.at,
            words: format!("{waiting} entries wait in the refill ring, and nothing consumes them"),
        });
    }
    let since = facts.starving_since()?;
    let quiet = quiet_for(facts, |change| none(change.calls) && none(change.bytes) && !some(change.polls));
    let lasting = match harmed_since(facts, since) {
        Some(true) => LASTING,
        Some(false) => return None,
        None => LASTING_WITHOUT_DROPS,
    };
    if waiting == 0 || quiet < lasting {
        return None;
    }
    let words =
        format!("{waiting} buffers wait, but the provider has not been asked for {}", words::time(quiet));
    Some(Alarm { trouble: Trouble::Stalled, since, last: facts.now.at, words })
}

fn dropping(facts: &Facts<'_>) -> Option<Alarm> {
    let words = |what: &str| {
        format!(
            "{} failed in {}{what}",
            words::count(facts.recent.failures.unwrap_or(0), "allocation"),
            words::recently(facts)
        )
    };
    let seen = Activity::within(facts, RECENT, |change, _| some(change.failures) && some(change.drops));
    if let Some(seen) = seen.filter(|seen| seen.lasted(LASTING)) {
        let dropped = words::count(facts.recent.drops.unwrap_or(0), "packet");
        return Some(
            seen.alarm(Trouble::DroppingPackets, words(&format!(", and the NIC dropped {dropped}"))),
        );
    }
    if facts.now.nic.hw_drops.is_some()
        || facts.now.local.as_ref().is_some_and(|own| own.starvations.is_some())
    {
        return None;
    }
    // Nobody counts drops: failures must be the rule for a while.
    let seen = Activity::within(facts, LASTING_WITHOUT_DROPS, |change, _| {
        some(change.failures)
            && change.failures.zip(change.calls).is_none_or(|(failed, calls)| failed * 2 >= calls)
    })?;
    let unbroken = quiet_for(facts, |change| some(change.failures)) >= LASTING_WITHOUT_DROPS;
    (seen.lasted(LASTING_WITHOUT_DROPS) && unbroken)
        .then(|| seen.alarm(Trouble::DroppingPackets, words("; whether packets are dropped is not known")))
}

fn copy_livelock(facts: &Facts<'_>) -> Option<Alarm> {
    let seen = Activity::within(facts, RECENT, |change, _| some(change.enomem))?;
    let ended = words::count(facts.recent.enomem.unwrap_or(0), "receive");
    seen.lasted(LASTING).then(|| {
        seen.alarm(Trouble::CopyLivelock, format!("{ended} ended with ENOMEM in {}", words::recently(facts)))
    })
}

fn cq_exhausted(facts: &Facts<'_>) -> Option<Alarm> {
    let seen = Activity::within(facts, RECENT, |change, _| some(change.enospc) || some(change.cq_overflows));
    if let Some(seen) = seen.filter(|seen| seen.lasted(LASTING)) {
        let ended = words::count(facts.recent.enospc.unwrap_or(0), "receive");
        return Some(seen.alarm(
            Trouble::CqExhausted,
            format!("{ended} ended with ENOSPC in {}", words::recently(facts)),
        ));
    }
    // Refused once, and not armed again since.
    let quiet = quiet_for(facts, |change| none(change.bytes));
    (some(facts.whole.enospc) && some(facts.placement.sockets) && quiet >= LASTING).then(|| Alarm {
        trouble: Trouble::CqExhausted,
        since: facts.now.at.saturating_sub(quiet),
        last: facts.now.at,
        words: format!(
            "a receive ended with ENOSPC, and nothing was received in the {} since",
            words::time(quiet)
        ),
    })
}

/// Told at once: each of these is a connection lost.
fn missteered(facts: &Facts<'_>) -> Option<Alarm> {
    let seen = Activity::within(facts, RECENT, |change, _| some(change.efault))?;
    let ended = words::count(facts.recent.efault.unwrap_or(0), "receive");
    Some(seen.alarm(Trouble::Missteered, format!("{ended} ended with EFAULT in {}", words::recently(facts))))
}

/// Own queues say what they could not return.
fn overflowing(facts: &Facts<'_>) -> Option<Alarm> {
    let seen = Activity::within(facts, RECENT, |change, later| {
        let stashed = later.local.as_ref().map(|own| own.stashed);
        some(change.bytes) && facts.placement.share(stashed).is_some_and(|share| share >= CONSIDERABLE)
    })?;
    let stashed = facts.placement.stashed?;
    seen.lasted(LASTING).then(|| {
        seen.alarm(
            Trouble::RefillOverflow,
            format!("{} are returned and find no room in the refill ring", words::buffers(facts, stashed)),
        )
    })
}

fn leaking(facts: &Facts<'_>) -> Option<Alarm> {
    let placement = &facts.placement;
    if facts.cq_shallow() != Some(true) || facts.owner_stopped_reading() {
        return None;
    }
    let share = |count| placement.share(Some(count)).unwrap_or(0.0);
    if let Some(floor) = facts.held_floor.filter(|floor| floor.rises() && floor.span >= TREND)
        && share(floor.now()) >= MOST
        && share(floor.growth()) >= LEAK_GROWTH
        && !busier(facts)
    {
        let trouble = if facts.refill_was_full() && facts.now.local.is_none() {
            Trouble::RefillOverflow
        } else {
            Trouble::Leaking
        };
        let words = format!(
            "the least that the owner held grew from {} to {} in {}",
            floor.least[0],
            words::buffers(facts, floor.now()),
            words::time(floor.span)
        );
        let since = facts.now.at.saturating_sub(floor.span);
        return Some(Alarm { trouble, since, last: facts.now.at, words });
    }
    let held = held_references(facts.now).and(placement.held)?;
    let quiet = quiet_for(facts, |change| none(change.bytes) && none(change.returned));
    (share(held) >= MOST && quiet >= IDLE_LEAK).then(|| Alarm {
        trouble: Trouble::Leaking,
        since: facts.now.at.saturating_sub(quiet),
        last: facts.now.at,
        words: format!(
            "{} are held, though nothing has arrived or come back for {}",
            words::buffers(facts, held),
            words::time(quiet)
        ),
    })
}

/// Whether more was returned in the later half of the window than in the earlier: a busier queue holds more.
fn busier(facts: &Facts<'_>) -> bool {
    let samples: Vec<_> = facts.window.samples().collect();
    let (Some(first), Some(middle)) = (samples.first(), samples.get(samples.len() / 2)) else { return false };
    let rate = |from, to| {
        let change = Change::between(from, to);
        change.rate(change.returned)
    };
    match (rate(first, middle), rate(middle, facts.now)) {
        (Some(earlier), Some(later)) => later > earlier * 1.1,
        _ => true,
    }
}

fn pinned(facts: &Facts<'_>) -> Option<Alarm> {
    let nic = &facts.now.nic;
    let detached = nic.pool_detached_for.filter(|&detached| detached >= PINNED)?;
    if nic.pool_inflight == Some(0) {
        return None;
    }
    Some(Alarm {
        trouble: Trouble::Pinned,
        since: facts.now.at.saturating_sub(detached),
        last: facts.now.at,
        words: format!(
            "its page pool was detached {} ago{}",
            words::time(detached),
            nic.pool_inflight
                .map_or_else(String::new, |inflight| format!(", and {inflight} buffers are out"))
        ),
    })
}
