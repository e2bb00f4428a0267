//! When buffers run out, and which sizes would carry the load.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Change, Facts, Placement, some};
use super::thresholds::{CONSIDERABLE, HEADROOM, POOL_CACHE};
use super::words;
use crate::model::{QueueSample, Window};

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// Known.
    Known(T),
    /// Not known, for this reason.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The answer, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// When a queue starves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Starvation {
    /// It does.
    Now,
    /// After this time, if things go on as they do.
    In(Duration),
    /// Never, if things go on as they do: as much comes back as goes out.
    NotAtThisRate,
}

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

/// What is to be expected of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// When it starves.
    pub starvation: Answer<Starvation>,
    /// Buffers that can still be given out, as a share of the area.
    pub headroom: Option<f64>,
    /// Buffers that go out, a second.
    pub arrivals: Option<f64>,
    /// Buffers that come back, a second.
    pub returns: Option<f64>,
    /// How long user space has a buffer, on average (Little's law: held = rate x time).
    pub hold_time: Option<Duration>,
    /// Sizes that would do.
    pub sizes: Answer<Sizes>,
}

/// How far back rates are taken from.
const PAST: Duration = Duration::from_secs(10);

/// The least time that rates are taken over.
const LEAST: Duration = Duration::from_secs(2);

/// The kernel takes no more entries (`IO_RQ_MAX_ENTRIES`).
const MOST_REFILL_ENTRIES: u64 = 32_768;

/// Looks ahead from a window; `None` if it is empty.
pub fn forecast(window: &Window) -> Option<Forecast> {
    let facts = Facts::of(window)?;
    let since = facts.now.at.saturating_sub(PAST);
    let past: Vec<&QueueSample> = window.samples().filter(|sample| sample.at >= since).collect();
    let change = Change::between(past.first()?, facts.now);
    let per_second = |count: f64| {
        let seconds = change.span.as_secs_f64();
        (seconds > 0.0).then_some(count / seconds)
    };
    let fragments = facts.placement.fragments.unwrap_or(1.0);
    let returns = change.returned.and_then(|returned| per_second(returned as f64 / fragments));
    let growth = slope(&past);
    let arrivals = returns.zip(growth).map(|(returns, growth)| (returns + growth).max(0.0));
    let user = past.iter().filter_map(|sample| user(sample)).map(|user| user as f64).collect::<Vec<_>>();
    let mean = (!user.is_empty()).then(|| user.iter().sum::<f64>() / user.len() as f64);
    let hold_time = mean
        .zip(returns.filter(|&returns| returns > 0.0))
        .and_then(|(mean, returns)| Duration::try_from_secs_f64(mean / returns).ok());
    Some(Forecast {
        starvation: starvation(&facts, &past, change.span),
        headroom: available(facts.now).and_then(|available| facts.placement.share(Some(available))),
        arrivals,
        returns,
        hold_time,
        sizes: sizes(&facts, arrivals, returns),
    })
}

/// Buffers that user space has and that no allocation could get: held, stashed, in unread completions.
fn user(sample: &QueueSample) -> Option<u64> {
    let placement = Placement::of(sample);
    Some(placement.held? + placement.completed? + placement.stashed.unwrap_or(0))
}

/// Buffers that are out of the allocator's reach: with user space and in sockets.
fn out(sample: &QueueSample) -> Option<u64> {
    Some(user(sample)? + Placement::of(sample).sockets.unwrap_or(0))
}

/// Buffers that an allocation could still get: free, in the pool's cache, in the refill ring.
pub(super) fn available(sample: &QueueSample) -> Option<u64> {
    let placement = Placement::of(sample);
    match (placement.free, &sample.kernel) {
        (Some(free), Some(kernel)) => {
            let cache = kernel.pool.and_then(|pool| pool.cache).unwrap_or(0);
            Some(free + u64::from(cache) + placement.pending?)
        }
        // The software interface queue posts nothing: what is not out is there.
        _ => Some(placement.total?.saturating_sub(out(sample)?)),
    }
}

/// How much more is out each second; `None` where that is unknown.
fn slope(past: &[&QueueSample]) -> Option<f64> {
    let (first, last) = (past.first()?, past.last()?);
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    (seconds > 0.0).then_some((out(last)? as f64 - out(first)? as f64) / seconds)
}

fn starvation(facts: &Facts<'_>, past: &[&QueueSample], span: Duration) -> Answer<Starvation> {
    // A failure that healed is no starvation; one that did not, or that goes on, is.
    if facts.starving_since().is_some() && some(facts.recent.failures) || facts.software_starving() {
        return Answer::Known(Starvation::Now);
    }
    if span < LEAST {
        return Answer::Unknown(format!("watched for {} only", words::time(span)));
    }
    let Some(available) = available(facts.now) else {
        return Answer::Unknown("what is free is unknown: no kernel snapshot".to_owned());
    };
    // A load that has only just begun, or changed, is steady over less time than one that has not.
    let younger = facts.now.at.saturating_sub(PAST / 2);
    let younger: Vec<&QueueSample> = past.iter().copied().filter(|sample| sample.at >= younger).collect();
    let answer = outlook(facts, past, available);
    if matches!(answer, Answer::Unknown(_)) && span > PAST / 2 {
        let of_late = outlook(facts, &younger, available);
        if matches!(of_late, Answer::Known(Starvation::In(_))) {
            return of_late;
        }
    }
    answer
}

/// When a queue starves that has so much left, by how what is out grew in these samples.
fn outlook(facts: &Facts<'_>, past: &[&QueueSample], available: u64) -> Answer<Starvation> {
    let (earlier, later) = past.split_at(past.len() / 2);
    // The halves share the sample in the middle, so that no time is lost between them.
    let earlier: Vec<_> = earlier.iter().chain(later.first()).copied().collect();
    let (Some(whole), Some(then), Some(now)) = (slope(past), slope(&earlier), slope(later)) else {
        return Answer::Unknown("what user space holds is unknown".to_owned());
    };
    let total = facts.placement.total.unwrap_or(0) as f64;
    // Less than a hundredth of the area a second is the noise of a queue that is in use.
    if whole <= total / 100.0 && now <= total / 100.0 && !grows_steadily(whole, then, now) {
        return Answer::Known(Starvation::NotAtThisRate);
    }
    if !grows_steadily(whole, then, now) {
        return Answer::Unknown(format!(
            "not steady: what is out grew by {} and then by {}",
            words::rate(then.max(0.0)),
            words::rate(now.max(0.0))
        ));
    }
    Duration::try_from_secs_f64(available as f64 / whole)
        .map_or(Answer::Known(Starvation::NotAtThisRate), |time| Answer::Known(Starvation::In(time)))
}

/// Whether both halves grow, and about as fast.
fn grows_steadily(whole: f64, then: f64, now: f64) -> bool {
    whole > 0.0 && then > 0.0 && now > 0.0 && now < then * 2.0 && then < now * 2.0
}

fn sizes(facts: &Facts<'_>, arrivals: Option<f64>, returns: Option<f64>) -> Answer<Sizes> {
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
        if let (true, None, Some(total)) = (facts.refill_was_full(), &facts.now.own, facts.placement.total) {
            let area_bytes = facts.now.buffer_bytes.map(|buffer| total * buffer);
            let refill_entries = entries_for(facts, total);
            return Answer::Known(Sizes { area_buffers: total, area_bytes, refill_entries, at_least: false });
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
    !shares.is_empty() && shares.iter().sum::<f64>() / shares.len() as f64 >= super::thresholds::MOST
}

/// Whether allocations failed and packets were lost in the window.
fn harmed(facts: &Facts<'_>) -> bool {
    some(facts.whole.failures) && some(facts.whole.drops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnose::queue_model::Queue;
    use crate::model::Cause;

    /// Runs until the first allocation fails and answers when that was, in seconds.
    fn fails_after(mut queue: Queue, seconds: u64) -> Option<f64> {
        let mut first = None;
        let mut begun = None;
        queue.run_with(seconds, |sample| {
            let begun = *begun.get_or_insert(sample.at);
            if sample.nic.alloc_fail > Some(0) {
                first.get_or_insert(sample.at.saturating_sub(begun).as_secs_f64());
            }
        });
        first
    }

    #[test]
    fn the_time_left_is_what_is_free_by_what_is_lost() {
        // 1000 more arrive each second than come back; a ring of 512 and 128 cached are taken from 16384.
        let slow = Queue {
            buffers: 16_384,
            refill_entries: 16_384,
            arrivals_per_second: 5_000.0,
            returns_per_second: 4_000.0,
            ..Queue::default()
        };
        let mut queue = slow.clone();
        let window = queue.run(6);
        let forecast = forecast(&window).expect("samples");
        let Answer::Known(Starvation::In(left)) = forecast.starvation else { panic!("{forecast:?}") };
        // 6 s have cost 6000 of about 15800.
        assert!((9.0..=10.6).contains(&left.as_secs_f64()), "{forecast:?}");
        assert!(forecast.arrivals.is_some_and(|rate| (4_900.0..=5_100.0).contains(&rate)), "{forecast:?}");
        assert!(forecast.returns.is_some_and(|rate| (3_900.0..=4_100.0).contains(&rate)), "{forecast:?}");
        let happened = fails_after(slow, 30).expect("it starves") - 6.0;
        assert!((happened / left.as_secs_f64() - 1.0).abs() < 0.2, "{happened} s, foretold {left:?}");
        assert!(
            matches!(forecast.sizes, Answer::Unknown(reason) if reason.starts_with("no size is large enough"))
        );
    }

    #[test]
    fn a_load_that_has_just_begun_is_judged_by_what_it_does_since() {
        let load = Queue {
            buffers: 16_384,
            refill_entries: 16_384,
            arrivals_per_second: 5_000.0,
            returns_per_second: 4_000.0,
            ..Queue::default()
        };
        let idle = Queue { arrivals_per_second: 0.0, ..load.clone() };
        let mut queue = idle;
        let mut window = queue.run(20);
        queue.arrivals_per_second = load.arrivals_per_second;
        queue.run_with(6, |sample| window.push(sample));
        let forecast = forecast(&window).expect("samples");
        let Answer::Known(Starvation::In(left)) = forecast.starvation else { panic!("{forecast:?}") };
        // As in the test above: 6 s have cost 6000 of about 15800.
        assert!((8.0..=12.0).contains(&left.as_secs_f64()), "{forecast:?}");
    }

    #[test]
    fn a_leak_is_foreseen_too() {
        let leaky = Queue { leak: 0.01, buffers: 8_192, ..Queue::default() };
        let mut queue = leaky.clone();
        let forecast = forecast(&queue.run(10)).expect("samples");
        // 200 a second of about 7500.
        let Answer::Known(Starvation::In(left)) = forecast.starvation else { panic!("{forecast:?}") };
        let happened = fails_after(leaky, 60).expect("it starves") - 10.0;
        assert!((0.5..=2.0).contains(&(happened / left.as_secs_f64())), "{happened} s, foretold {left:?}");
    }

    #[test]
    fn a_queue_that_keeps_up_does_not_starve() {
        let forecast = forecast(&Queue::default().run(10)).expect("samples");
        assert_eq!(forecast.starvation, Answer::Known(Starvation::NotAtThisRate));
    }

    #[test]
    fn a_starving_queue_starves_now() {
        let mut queue = Queue { leak: 1.0, ..Queue::default() };
        let forecast = forecast(&queue.run(8)).expect("samples");
        assert_eq!(forecast.starvation, Answer::Known(Starvation::Now));
    }

    #[test]
    fn too_little_was_seen_to_tell() {
        let forecast = forecast(&Queue::default().run(1)).expect("samples");
        assert!(
            matches!(&forecast.starvation, Answer::Unknown(why) if why == "watched for 1.0 s only"),
            "{forecast:?}"
        );
        let unknown = QueueSample::unknown(
            crate::model::QueueKey { interface: None, queue: 0 },
            1,
            Duration::from_secs(1),
        );
        let mut window = Window::new(8);
        (1..=5).for_each(|second| {
            window.push(QueueSample { at: Duration::from_secs(second), ..unknown.clone() });
        });
        let forecast = super::forecast(&window).expect("samples");
        assert!(matches!(&forecast.starvation, Answer::Unknown(why) if why.contains("no kernel snapshot")));
        assert!(matches!(forecast.sizes, Answer::Unknown(_)));
    }

    #[test]
    fn sizes_recommended_end_the_starvation() {
        let small = Queue { buffers: 600, ring: 512, bursts: Some(700), ..Queue::default() };
        let window = small.clone().run(10);
        assert_eq!(
            super::super::diagnose(&window).cause().map(|found| found.cause),
            Some(Cause::AreaTooSmall)
        );
        let forecast = forecast(&window).expect("samples");
        let sizes = *forecast.sizes.known().expect("sizes");
        assert_eq!(sizes.area_bytes, Some(sizes.area_buffers * 4096));
        assert!(sizes.at_least, "what a starving queue would take is not seen: {sizes:?}");
        let mut mended =
            Queue { buffers: sizes.area_buffers, refill_entries: u64::from(sizes.refill_entries), ..small };
        let window = mended.run(20);
        assert!(super::super::diagnose(&window).alarms.is_empty(), "{sizes:?}");
        assert_eq!(window.last().and_then(|last| last.nic.hw_drops), Some(0), "{sizes:?}");
    }

    #[test]
    fn a_refill_ring_that_drops_returns_gets_an_entry_for_each_buffer() {
        let mut queue = Queue {
            refill_entries: 64,
            arrivals_per_second: 2_000.0,
            bursts: Some(300),
            return_batch: 200,
            overflow: crate::diagnose::queue_model::Overflow::Drop,
            ..Queue::default()
        };
        let forecast = forecast(&queue.run(20)).expect("samples");
        let sizes = *forecast.sizes.known().expect("sizes");
        assert_eq!((sizes.area_buffers, u64::from(sizes.refill_entries)), (queue.buffers, queue.buffers));
    }

    #[test]
    fn littles_law_gives_the_hold_time() {
        // 20000 a second, returned in batches of 2000: between 0 and 2000 are held, 1000 on average, for 50 ms each.
        let mut queue =
            Queue { return_batch: 2_000, cadence: Duration::from_millis(170), ..Queue::default() };
        let forecast = forecast(&queue.run(20)).expect("samples");
        let hold = forecast.hold_time.expect("a hold time").as_secs_f64();
        assert!((0.04..=0.06).contains(&hold), "{forecast:?}");
    }
}
