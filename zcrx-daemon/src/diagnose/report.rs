//! A diagnosis in words.

use std::fmt::{self, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::causes::RULES;
use super::facts::Facts;
use super::forecast::{Answer, Forecast, Starvation};
use super::vitals::Vitals;
use super::{Diagnosis, diagnose, forecast, words};
use crate::model::{Cause, Episode, Finding, Owner, QueueKey, Window};

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
    /// What is wrong, and why.
    pub diagnosis: Diagnosis,
    /// What is to be expected.
    pub forecast: Forecast,
    /// The episode that lasts.
    pub episode: Option<Episode>,
    /// Its figures.
    #[serde(default)]
    pub vitals: Vitals,
}

impl Report {
    /// Of a window and the episode that lasts, if one does; `None` if the window is empty.
    pub fn of(window: &Window, episode: Option<&Episode>) -> Option<Self> {
        let facts = Facts::of(window)?;
        let now = facts.now;
        Some(Self {
            key: now.key.clone(),
            owner: now.owner.clone(),
            owner_cgroup: now.owner_cgroup.clone(),
            at: now.at,
            diagnosis: diagnose(window),
            forecast: forecast(window)?,
            episode: episode.cloned(),
            vitals: Vitals::of(&facts),
        })
    }

    /// Whether anything is wrong now.
    pub fn troubled(&self) -> bool {
        !self.diagnosis.alarms.is_empty() || self.episode.is_some()
    }
}

/// Says when something was, given by CLOCK_MONOTONIC, as people say it; `None` where nobody knows the time of day.
pub type When<'a> = &'a dyn Fn(Duration) -> Option<String>;

/// Writes a report as text: the verdict first.
pub fn write_report(out: &mut impl Write, report: &Report, when: When<'_>) -> fmt::Result {
    write!(out, "{}{}: ", report.key, of_owner(report.owner.as_ref(), report.owner_cgroup.as_deref()))?;
    let since = |since: Duration| when(since).map(|time| format!(", since {time}")).unwrap_or_default();
    match (report.diagnosis.alarms.first(), &report.episode) {
        (Some(alarm), _) => {
            let lasted = words::time(report.at.saturating_sub(alarm.since));
            writeln!(out, "{}, for {lasted}{}", alarm.trouble.words(), since(alarm.since))?;
        }
        (None, Some(episode)) => {
            let began = words::time(report.at.saturating_sub(episode.began));
            let trouble = episode.trouble.name().replace('_', " ");
            writeln!(out, "flows again; {trouble} began {began} ago{}", since(episode.began))?;
        }
        (None, None) => writeln!(out, "nothing is wrong")?,
    }
    for alarm in &report.diagnosis.alarms {
        writeln!(out, "  {}", alarm.words)?;
    }
    // During an episode, its diagnosis stands until a surer one is made: the window may have forgotten the begin.
    let diagnosis = report.episode.as_ref().map_or(&report.diagnosis, |episode| &episode.diagnosis);
    write_causes(out, diagnosis)?;
    write_vitals(out, &report.vitals)?;
    write_forecast(out, &report.forecast)
}

/// Writes an episode as text.
pub fn write_episode(out: &mut impl Write, episode: &Episode, now: Duration, when: When<'_>) -> fmt::Result {
    let lasted = words::time(episode.lasted(now));
    let from = when(episode.began).map(|time| format!(", from {time}")).unwrap_or_default();
    writeln!(
        out,
        "{}{}: {} for {lasted}{from}{}",
        episode.key,
        of_owner(episode.owner.as_ref(), None),
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
    write_causes(out, &episode.diagnosis)
}

fn of_owner(owner: Option<&Owner>, cgroup: Option<&str>) -> String {
    let cgroup = cgroup.filter(|path| *path != "/").map(|path| format!(", {path}")).unwrap_or_default();
    owner.map_or_else(String::new, |owner| format!(" ({}, pid {}{cgroup})", owner.comm, owner.pid))
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

fn write_causes(out: &mut impl Write, diagnosis: &Diagnosis) -> fmt::Result {
    for (position, finding) in diagnosis.causes.iter().enumerate() {
        write_finding(out, finding, position == 0)?;
    }
    if !diagnosis.alarms.is_empty() && diagnosis.causes.is_empty() {
        writeln!(out, "  cause: unknown")?;
    }
    if !diagnosis.alarms.is_empty() {
        for missing in &diagnosis.missing {
            writeln!(out, "  not known, and would help to tell: {missing}")?;
        }
    }
    Ok(())
}

fn write_finding(out: &mut impl Write, finding: &Finding, first: bool) -> fmt::Result {
    writeln!(
        out,
        "  {}: {} ({}, confidence {}, effect {:.0} %)",
        if first { "cause" } else { "also" },
        title(finding.cause),
        finding.cause.letter(),
        finding.confidence.name(),
        finding.effect * 100.0
    )?;
    for words in &finding.evidence {
        writeln!(out, "    + {words}")?;
    }
    for words in &finding.against {
        writeln!(out, "    - {words}")?;
    }
    writeln!(out, "    do: {}", finding.remedy)
}

/// What a cause is called among people.
pub fn title(cause: Cause) -> &'static str {
    RULES.iter().find(|rule| rule.cause == cause).map_or(cause.name(), |rule| rule.title)
}

fn write_forecast(out: &mut impl Write, forecast: &Forecast) -> fmt::Result {
    match &forecast.starvation {
        Answer::Known(Starvation::Now) => {}
        Answer::Known(Starvation::In(time)) => {
            writeln!(out, "  starves in {} at this rate", words::time(*time))?;
        }
        Answer::Known(Starvation::NotAtThisRate) => writeln!(out, "  does not starve at this rate")?,
        Answer::Unknown(why) => writeln!(out, "  time to starvation unknown: {why}")?,
    }
    if let Some(headroom) = forecast.headroom {
        writeln!(out, "  headroom: {:.0} % of the area can still be given out", headroom * 100.0)?;
    }
    if let Some(time) = forecast.hold_time.filter(|time| !time.is_zero()) {
        writeln!(out, "  a buffer is out for {} on average", words::time(time))?;
    }
    match &forecast.sizes {
        Answer::Known(sizes) => writeln!(
            out,
            "  sizes for this load: an area of {}{} buffers, a refill ring of {} entries{}",
            if sizes.at_least { "at least " } else { "" },
            sizes.area_buffers,
            sizes.refill_entries,
            if sizes.at_least {
                "; what more it would take is not seen while packets are lost: apply these, and look again"
            } else {
                ""
            },
        ),
        Answer::Unknown(why) => writeln!(out, "  sizes for this load unknown: {why}"),
    }
}
