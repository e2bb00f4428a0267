//! A diagnosis as text.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::causes::RULES;
use super::episodes::Tracker;
use super::facts::Facts;
use super::forecast::{Answer, Forecast, Starvation, ahead};
use super::history::History;
use super::verdict::{Urgency, Verdict};
use super::vitals::Vitals;
use super::{Diagnosis, judge, words};
use crate::model::{Cause, Episode, NapiState, Owner, QueueKey, QueueRing, TopSocket};

/// Everything there is to say of one queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which queue.
    pub key: QueueKey,
    /// Whose.
    pub owner: Option<Owner>,
    /// The owner's cgroup, which names its unit or its container.
    #[serde(default)]
    pub owner_cgroup: Option<String>,
    /// When, CLOCK_MONOTONIC.
    pub at: Duration,
    /// Alarms and causes.
    pub diagnosis: Diagnosis,
    /// What is to be expected.
    pub forecast: Forecast,
    /// The episode that lasts.
    pub episode: Option<Episode>,
    /// Its figures.
    #[serde(default)]
    pub vitals: Vitals,
    /// The rings that share the queue: owners, completion queue, and the consuming thread with its state. A thread's stack is that of
    /// the last sample that read it.
    #[serde(default)]
    pub rings: Vec<QueueRing>,
    /// The NAPI instance that polls the queue, at the moment of the sample.
    #[serde(default)]
    pub napi: Option<NapiState>,
    /// The sockets that the queue feeds and in which the most data waits, most first; `None` where that is not known.
    #[serde(default)]
    pub top_sockets: Option<Vec<TopSocket>>,
    /// The same as text.
    #[serde(default)]
    pub verdict: Verdict,
}

/// The diagnosis of one queue without its words: what a scrape exports.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// Which queue.
    pub key: QueueKey,
    /// When, CLOCK_MONOTONIC.
    pub at: Duration,
    /// Alarms and causes.
    pub diagnosis: Diagnosis,
    /// What is to be expected.
    pub forecast: Forecast,
    /// The episode that lasts.
    pub episode: Option<Episode>,
}

impl Outlook {
    /// Of a queue that is followed; `None` before its first sample.
    pub fn of_tracker(tracker: &Tracker) -> Option<Self> {
        Self::with(&Facts::of(tracker.history())?, tracker.diagnosis().clone(), tracker.open())
    }

    fn with(facts: &Facts<'_>, diagnosis: Diagnosis, episode: Option<&Episode>) -> Option<Self> {
        let (key, at) = (facts.now.key.clone(), facts.now.at);
        Some(Self { key, at, diagnosis, forecast: ahead(facts)?, episode: episode.cloned() })
    }

    /// Whether the queue has a problem now.
    pub fn troubled(&self) -> bool {
        is_troubled(&self.diagnosis, self.episode.as_ref())
    }
}

impl Report {
    /// Of a history and the episode that lasts, if one does; `None` if the history is empty.
    pub fn of(history: &History, episode: Option<&Episode>) -> Option<Self> {
        let facts = Facts::of(history)?;
        let diagnosis = judge(&facts);
        Self::with(&facts, diagnosis, episode)
    }

    /// Of a queue that is followed; `None` before its first sample.
    pub fn of_tracker(tracker: &Tracker) -> Option<Self> {
        Self::with(&Facts::of(tracker.history())?, tracker.diagnosis().clone(), tracker.open())
    }

    fn with(facts: &Facts<'_>, diagnosis: Diagnosis, episode: Option<&Episode>) -> Option<Self> {
        let now = facts.now;
        let vitals = Vitals::of(facts);
        let Outlook { key, at, diagnosis, forecast, episode } = Outlook::with(facts, diagnosis, episode)?;
        let verdict = Verdict::of(facts, &diagnosis, episode.as_ref(), &vitals, &forecast);
        Some(Self {
            key,
            owner: now.owner.clone(),
            owner_cgroup: now.owner_cgroup.clone(),
            at,
            diagnosis,
            forecast,
            episode,
            vitals,
            rings: rings(facts),
            napi: facts.now.kernel.as_ref().and_then(|kernel| kernel.napi),
            top_sockets: facts.now.kernel.as_ref().and_then(|kernel| kernel.top_sockets.clone()),
            verdict,
        })
    }

    /// Whether the queue has a problem now.
    pub fn troubled(&self) -> bool {
        is_troubled(&self.diagnosis, self.episode.as_ref())
    }
}

const fn is_troubled(diagnosis: &Diagnosis, episode: Option<&Episode>) -> bool {
    !diagnosis.alarms.is_empty() || episode.is_some()
}

/// The queue's rings as the newest sample has them, with stacks that an earlier sample read: few samples read any.
fn rings(facts: &Facts<'_>) -> Vec<QueueRing> {
    let mut rings = facts.now.kernel.as_ref().map(|kernel| kernel.rings.clone()).unwrap_or_default();
    if !facts.history.has_stack() {
        return rings;
    }
    for ring in &mut rings {
        let id = ring.id;
        let Some(consumer) = ring.consumer.as_mut().filter(|consumer| consumer.kernel_stack.is_none()) else {
            continue;
        };
        let earlier = facts.history.samples().rev().filter_map(|sample| sample.kernel.as_ref());
        let tasks = earlier.flat_map(|kernel| &kernel.rings).filter(|ring| ring.id == id);
        let tasks = tasks.filter_map(|ring| ring.consumer.as_ref());
        let mut tasks = tasks.filter(|task| task.tid == consumer.tid);
        consumer.kernel_stack = tasks.find_map(|task| task.kernel_stack.clone());
    }
    rings
}

/// Says when something was, given by CLOCK_MONOTONIC, as people say it; `None` where the time of day is unknown.
pub type When<'a> = &'a dyn Fn(Duration) -> Option<String>;

/// Writes a report as text: the verdict first.
pub fn write_report(out: &mut impl Write, report: &Report, when: When<'_>) -> fmt::Result {
    let verdict = &report.verdict;
    writeln!(out, "{} {}", report.key, verdict.line)?;
    let began = report.diagnosis.alarms.first().map(|alarm| alarm.since);
    let began = began.or(report.episode.as_ref().map(|episode| episode.began));
    let since = began.and_then(when).map(|time| format!(", since {time}")).unwrap_or_default();
    if let Some(owner) = &report.owner {
        writeln!(out, "  owner: {}{since}", of_owner(owner, report.owner_cgroup.as_deref()))?;
    }
    for alarm in &verdict.alarms {
        writeln!(out, "  {alarm}")?;
    }
    write_causes(out, verdict)?;
    for note in &verdict.notes {
        writeln!(out, "  {note}")?;
    }
    write_vitals(out, &report.vitals)?;
    write_forecast(out, &report.forecast)
}

/// Writes an episode as text.
pub fn write_episode(out: &mut impl Write, episode: &Episode, now: Duration, when: When<'_>) -> fmt::Result {
    let lasted = words::time(episode.lasted(now));
    let from = when(episode.began).map(|time| format!(", from {time}")).unwrap_or_default();
    let owner =
        episode.owner.as_ref().map(|owner| format!(" ({})", of_owner(owner, None))).unwrap_or_default();
    writeln!(
        out,
        "{}{owner}: {} for {lasted}{from}{}",
        episode.key,
        episode.trouble.name().replace('_', " "),
        if episode.ended.is_some() { ", now over" } else { ", and still" }
    )?;
    let count = |what: Option<u64>| what.map_or_else(|| "unknown".to_owned(), |what| what.to_string());
    writeln!(
        out,
        "  meanwhile: failed allocations {}, bytes received {}, packets dropped {}",
        count(episode.failed_allocations),
        count(episode.bytes),
        count(episode.drops)
    )?;
    write_causes(out, &Verdict::of_episode(episode))
}

fn of_owner(owner: &Owner, cgroup: Option<&str>) -> String {
    let cgroup = cgroup.filter(|path| *path != "/").map(|path| format!(", {path}")).unwrap_or_default();
    format!("{}, pid {}{cgroup}", owner.comm, owner.pid)
}

/// Where the buffers are, and what flows, as far as either is known.
fn write_vitals(out: &mut impl Write, vitals: &Vitals) -> fmt::Result {
    let placement = &vitals.placement;
    let places = [
        (placement.held, "held by the application"),
        (placement.stashed, "waiting for the refill ring"),
        (placement.completed, "in unread completions"),
        (placement.sockets, "in unread sockets"),
        (placement.posted.or(placement.kernel), "with NIC and page pool"),
        (placement.pending, "in the refill ring"),
        (placement.free, "on the freelist"),
    ];
    let known =
        places.iter().filter_map(|(buffers, place)| Some((buffers.filter(|&buffers| buffers > 0)?, place)));
    let known: Vec<String> = known.map(|(buffers, place)| format!("{buffers} {place}")).collect();
    if let Some(total) = placement.total {
        let known = if known.is_empty() { "none in use".to_owned() } else { known.join(", ") };
        writeln!(out, "  of {total} buffers: {known}")?;
    }
    let rates = &vitals.rates;
    let flows = [
        rates.bytes.map(|bytes| format!("{:.1} MB received", bytes / 1e6)),
        rates
            .copied_bytes
            .filter(|&bytes| bytes > 0.0)
            .map(|bytes| format!("{:.1} MB of it copied", bytes / 1e6)),
        rates.returned.map(|entries| format!("{entries:.0} refill entries published")),
        rates.failures.map(|failures| format!("{failures:.0} allocations failed")),
        rates.drops.map(|drops| format!("{drops:.0} packets dropped")),
    ];
    let flows: Vec<String> = flows.into_iter().flatten().collect();
    if !flows.is_empty() {
        writeln!(out, "  a second: {}", flows.join(", "))?;
    }
    Ok(())
}

fn write_causes(out: &mut impl Write, verdict: &Verdict) -> fmt::Result {
    for (position, cause) in verdict.causes.iter().enumerate() {
        writeln!(out, "  {}: {}", if position == 0 { "cause" } else { "also" }, cause.line)?;
        for words in &cause.evidence {
            writeln!(out, "    + {words}")?;
        }
        for words in &cause.against {
            writeln!(out, "    - {words}")?;
        }
        if position > 0 {
            continue;
        }
        for command in &verdict.run {
            writeln!(out, "    run: {command}")?;
        }
        if let Some(change) = &verdict.change {
            writeln!(out, "    do: {change}")?;
        }
    }
    if verdict.urgency == Urgency::Alarm {
        if verdict.causes.is_empty() {
            writeln!(out, "  cause: unknown")?;
        }
        for missing in &verdict.missing {
            writeln!(out, "  not known, and would help to find the cause: {missing}")?;
        }
    }
    for change in &verdict.history {
        writeln!(out, "  {change}")?;
    }
    Ok(())
}

/// What a cause is called among people.
pub fn title(cause: Cause) -> &'static str {
    RULES.iter().find(|rule| rule.cause == cause).map_or(cause.name(), |rule| rule.title)
}

fn write_forecast(out: &mut impl Write, forecast: &Forecast) -> fmt::Result {
    match &forecast.starvation {
        Answer::Known(Starvation::Now) => {}
        Answer::Known(Starvation::In(time)) => {
            let range = forecast.starvation_range.map_or_else(String::new, |(from, to)| {
                format!(" (80 %: {} to {})", words::time(from), words::time(to))
            });
            writeln!(out, "  starves in {} at this rate{range}", words::time(*time))?;
        }
        Answer::Known(Starvation::NotAtThisRate) => writeln!(out, "  does not starve at this rate")?,
        Answer::Unknown(why) => writeln!(out, "  time to starvation unknown: {why}")?,
    }
    if let Some(headroom) = forecast.headroom {
        writeln!(out, "  headroom: {:.0} % of the area is allocatable", headroom * 100.0)?;
    }
    if let Some(time) = forecast.hold_time.filter(|time| !time.is_zero()) {
        writeln!(out, "  the owner holds a buffer for {} on average", words::time(time))?;
    }
    match &forecast.sizes {
        Answer::Known(sizes) => writeln!(
            out,
            "  sizes for the load of {}: an area of {}{} buffers, a refill ring of {} entries{}",
            words::last(sizes.observed),
            if sizes.at_least { "at least " } else { "" },
            sizes.area_buffers,
            sizes.refill_entries,
            if sizes.at_least {
                "; how much more it would take is not seen while packets are lost: apply these and look again"
            } else {
                ""
            },
        ),
        Answer::Unknown(why) => writeln!(out, "  sizes for this load unknown: {why}"),
    }
}
