//! Alarms of starvation, which do not belong to a single cause.
//!
//! Healthy queues look alarming: an empty freelist, a page pool with all buffers in flight, a ring that is never quite full,
//! an occasional failed allocation. So zcrxd raises an alarm only once a problem has lasted ([`LASTING`]) and does harm:
//! dropped packets, a NIC without posted buffers, receives that end with an error, or buffers that are not returned. The
//! functions compare counter differences and their times, so a sample every ten seconds is enough.

use std::time::Duration;

use super::causes::RULES;
use super::facts::{Change, Facts, none, some};
use super::step::Step;
use super::thresholds::{LASTING, LASTING_WITHOUT_DROPS, RECENT, REPEATED, REPEATED_MOMENTS, STARVED_SHARE};
use super::words;
use crate::model::{Alarm, Trouble};

/// Alarms, worst first; none for a healthy queue.
pub(super) fn alarms(facts: &Facts<'_>) -> Vec<Alarm> {
    let mut alarms: Vec<Alarm> = RULES.iter().filter_map(|rule| rule.alarm?(facts)).collect();
    // A NIC that no longer allocates while buffers wait is stalled, which is another alarm.
    let stalled =
        alarms.iter().any(|alarm| matches!(alarm.trouble, Trouble::Stalled | Trouble::InterfaceDown));
    if !stalled && let Some(alarm) = starving(facts).or_else(|| dropping(facts)) {
        alarms.push(alarm);
    }
    alarms.sort_by_key(|alarm| alarm.trouble);
    alarms
}

/// Times at which the recent steps show something.
#[derive(Clone, Copy)]
pub(super) struct Activity {
    /// The begin of the first step that shows it.
    pub(super) first: Duration,
    /// The end of the last step that shows it.
    pub(super) last: Duration,
    /// Number of steps that show it.
    pub(super) steps: usize,
    /// Total time of these steps.
    pub(super) time: Duration,
}

impl Activity {
    /// Of the steps that ended within the time before the newest sample, and in which `seen` holds. The time is stretched
    /// to hold three steps where samples are rare.
    pub(super) fn within(facts: &Facts<'_>, time: Duration, seen: impl Fn(&Step) -> bool) -> Option<Self> {
        let since = facts.now.at.saturating_sub(time);
        let mut found: Option<Self> = None;
        for (age, step) in facts.steps().rev().enumerate() {
            if step.at <= since && age >= 3 {
                break;
            }
            if seen(step) {
                let begin = step.at.saturating_sub(step.change.span);
                let so_far = found.get_or_insert(Self {
                    first: step.at,
                    last: step.at,
                    steps: 0,
                    time: Duration::ZERO,
                });
                so_far.first = begin;
                so_far.steps += 1;
                so_far.time += step.change.span;
            }
        }
        found
    }

    /// Whether it was seen again and again over at least [`LASTING`], or in one step that is longer than that.
    pub(super) fn lasted(&self, time: Duration) -> bool {
        self.time >= time && (self.steps >= 2 || self.time >= time * 2)
    }

    pub(super) const fn alarm(self, trouble: Trouble, words: String) -> Alarm {
        Alarm { trouble, since: self.first, last: self.last, words }
    }
}

/// Time for which `quiet` has held without interruption until now.
pub(super) fn quiet_for(facts: &Facts<'_>, quiet: impl Fn(&Change) -> bool) -> Duration {
    let broken = facts.steps().rev().find(|step| !quiet(&step.change)).map(|step| step.at);
    let begin = broken.or_else(|| facts.history.steps().front().map(|step| step.at));
    facts.now.at.saturating_sub(begin.unwrap_or(facts.now.at))
}

/// Whether the problem has done harm since then: dropped packets, or no posted buffers. `None` where neither is known.
pub(super) fn harmed_since(facts: &Facts<'_>, since: Duration) -> Option<bool> {
    if facts.drops_every_packet() {
        return Some(true);
    }
    let after = facts.steps().filter(|step| step.at > since);
    let drops = after.map(|step| step.change.drops).reduce(|so_far, drops| Some(so_far? + drops?)).flatten();
    match (drops, facts.nothing_posted()) {
        (Some(1..), _) | (_, Some(true)) => Some(true),
        (None, None) => None,
        _ => Some(false),
    }
}

fn starving(facts: &Facts<'_>) -> Option<Alarm> {
    let Some(since) = facts.starving_since() else {
        return software_starving(facts).or_else(|| nothing_posted(facts));
    };
    let lasted = facts.now.at.saturating_sub(since);
    let failed_again = Activity::within(facts, RECENT, |step| {
        some(step.change.failures) && step.at.saturating_sub(step.change.span) >= since
    });
    // Old drops are no evidence about a queue without traffic.
    let harmed = match harmed_since(facts, since.max(facts.now.at.saturating_sub(REPEATED))) {
        Some(harmed) => harmed,
        None if none(facts.recent.bytes) => failed_again.is_some(),
        None => failed_again.is_some() && lasted >= LASTING_WITHOUT_DROPS,
    };
    if lasted < LASTING || !harmed || some(facts.recent.yielded) && failed_again.is_none() {
        return None;
    }
    let failed = facts
        .recent
        .failures
        .map_or_else(String::new, |failures| format!(", {failures} failed in {}", words::recently(facts)));
    let words = format!("no allocation has succeeded for {}{failed}", words::time(lasted));
    Some(Alarm { trouble: Trouble::Starving, since, last: facts.now.at, words })
}

/// For hosts without the allocation probe: packets are dropped, and the snapshot shows no posted buffers.
fn nothing_posted(facts: &Facts<'_>) -> Option<Alarm> {
    if facts.now.kernel.as_ref().is_some_and(|kernel| kernel.allocation.is_some())
        || !facts.dropping_with_nothing_posted()
    {
        return None;
    }
    let seen = Activity::within(facts, RECENT, |step| some(step.change.drops))?;
    let dropped = words::count(facts.recent.drops.unwrap_or(0), "packet");
    seen.lasted(LASTING).then(|| {
        let words = format!("the NIC has no buffer and dropped {dropped} in {}", words::recently(facts));
        seen.alarm(Trouble::Starving, words)
    })
}

/// The software interface queue reports that a receive waits. One sample is weak evidence: a sink that keeps up with a
/// fast sender often has a waiting receive. One long wait, or many samples, are enough.
fn software_starving(facts: &Facts<'_>) -> Option<Alarm> {
    let mut waiting = facts
        .history
        .samples()
        .rev()
        .take_while(|sample| sample.local.as_ref().and_then(|local| local.starving) == Some(true));
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

/// Packets are lost because buffers are missing, with successful allocations in between: steadily, or repeatedly.
fn dropping(facts: &Facts<'_>) -> Option<Alarm> {
    let lost = |step: &Step| some(step.change.failures) && some(step.change.drops);
    let starved_share = |step: &Step| {
        let starved = step.change.starved?.as_secs_f64();
        Some(starved / step.change.span.as_secs_f64().max(0.001))
    };
    let steady = Activity::within(facts, RECENT, lost);
    let steady = steady.filter(|seen| {
        let newest_starved = facts.steps().next_back().and_then(starved_share);
        seen.time >= LASTING && (seen.steps >= 2 || newest_starved.is_none_or(|share| share >= STARVED_SHARE))
    });
    let repeated = || {
        let losses = facts.history.losses();
        let (first, last) = losses.span()?;
        // The problem continues as long as the next loss is not overdue.
        let overdue = facts.now.at.saturating_sub(last) > losses.longest_gap() * 2;
        (losses.moments() >= REPEATED_MOMENTS && !overdue).then_some((first, last))
    };
    let steady = steady.map(|seen| (seen.first, seen.last));
    if let Some((since, last)) = steady.or_else(repeated) {
        let words = lost_words(facts, since);
        return Some(Alarm { trouble: Trouble::DroppingPackets, since, last, words });
    }
    let counted = facts.now.nic.hw_drops.is_some()
        || facts.now.nic.hw_drop_overruns.is_some()
        || facts.now.nic.keeps_posted
        || facts.now.local.as_ref().is_some_and(|local| local.starvations.is_some());
    if counted {
        return None;
    }
    // No figure counts drops: failures must prevail for some time.
    let fails = |change: &Change| {
        some(change.failures)
            && change.failures.zip(change.calls).is_none_or(|(failed, calls)| failed * 2 >= calls)
    };
    let seen = Activity::within(facts, LASTING_WITHOUT_DROPS, |step| fails(&step.change))?;
    let unbroken = quiet_for(facts, |change| some(change.failures)) >= LASTING_WITHOUT_DROPS;
    (seen.time >= LASTING_WITHOUT_DROPS && unbroken).then(|| {
        let failed = words::count(facts.recent.failures.unwrap_or(0), "allocation");
        let words = format!(
            "{failed} failed in {}; whether packets are dropped is not known",
            words::recently(facts)
        );
        seen.alarm(Trouble::DroppingPackets, words)
    })
}

/// Packets lost since then, and the share of the time without a free buffer.
fn lost_words(facts: &Facts<'_>, since: Duration) -> String {
    let begin = facts.history.samples().rev().find(|sample| sample.at <= since);
    let change = begin.map_or(facts.whole, |begin| Change::between(begin, facts.now));
    let mut words = format!(
        "{} failed in {}, and the NIC dropped {}",
        words::count(change.failures.unwrap_or(0), "allocation"),
        words::last(change.span),
        words::count(change.drops.unwrap_or(0), "packet")
    );
    if let Some(overruns) = change.overruns {
        words += ", ";
        words += &overruns.to_string();
        words += " of them for lack of a buffer";
    }
    if let Some(starved) = change.starved.filter(|_| !change.span.is_zero()) {
        let share = starved.as_secs_f64() / change.span.as_secs_f64() * 100.0;
        words += "; it was without a buffer ";
        words += &words::decimals(share);
        words += " % of the time";
    }
    words
}
