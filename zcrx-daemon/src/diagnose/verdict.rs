//! The verdict on one queue, as the text that page, terminal, `zcrxd diagnose` and alerts print.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::causes::RULES;
use super::facts::{Facts, Placement, without_device};
use super::forecast::{Forecast, Starvation};
use super::rule::Rule;
use super::thresholds::POOL_CACHE;
use super::vitals::Vitals;
use super::words;
use crate::model::{
    Alarm, Cause, Diagnosis, Episode, Finding, Owner, QueueSample, Trouble, on_interface, quoted,
};

/// zcrxd reports a starvation in advance if it will come within this time.
pub const SOON: Duration = Duration::from_mins(5);

/// The verdict on a queue, ready to print.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Urgency of the queue.
    pub urgency: Urgency,
    /// One line that makes sense alone: `STARVED 23 s: 0 of 4096 buffers free; 4096 held by ingest[4242]; 0 B/s`.
    pub line: String,
    /// One line for each alarm.
    pub alarms: Vec<String>,
    /// Causes, most likely first; empty without a problem.
    pub causes: Vec<CauseWords>,
    /// Commands that show the problem with other tools, with the queue's process, interface and port filled in.
    pub run: Vec<String>,
    /// What the user should change.
    pub change: Option<String>,
    /// Unknown figures that would help to find the cause.
    pub missing: Vec<String>,
    /// Sizes that will do harm under load, in sentences: known at the first sample, before any harm.
    pub notes: Vec<String>,
    /// Earlier events, in sentences: changes of the cause during the episode, restarts by the driver.
    pub history: Vec<String>,
}

/// Urgency of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// The queue has a problem now.
    Alarm,
    /// The queue has just recovered, or will starve soon.
    Soon,
    /// The queue has no problem.
    #[default]
    Calm,
}

/// One cause as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CauseWords {
    /// Which.
    pub cause: Cause,
    /// `Slow consumer (A), confidence high, 96 % of the buffers`.
    pub line: String,
    /// Evidence for the cause.
    pub evidence: Vec<String>,
    /// Evidence against the cause.
    pub against: Vec<String>,
}

impl Verdict {
    pub(super) fn of(
        facts: &Facts<'_>,
        diagnosis: &Diagnosis,
        episode: Option<&Episode>,
        vitals: &Vitals,
        forecast: &Forecast,
    ) -> Self {
        let now = facts.now;
        let alarm = diagnosis.alarms.first();
        // During an episode the causes change only for a stated reason.
        let told = episode.map_or(diagnosis, |episode| &episode.diagnosis);
        let soon = match forecast.starvation.known() {
            Some(Starvation::In(time)) if *time <= SOON => Some(*time),
            _ => None,
        };
        let urgency = match (alarm, episode, soon) {
            (Some(_), _, _) => Urgency::Alarm,
            (None, Some(_), _) | (None, None, Some(_)) => Urgency::Soon,
            (None, None, None) => Urgency::Calm,
        };
        let mut verdict =
            Self { urgency, line: line(now, alarm, episode, vitals, forecast, soon), ..Self::default() };
        verdict.history.extend(restarts(facts));
        verdict.notes.extend(ring_larger_than_area(facts));
        verdict.notes.extend(stops_other_queues(facts));
        verdict.alarms = diagnosis.alarms.iter().map(|alarm| alarm.words.clone()).collect();
        if alarm.is_none() && episode.is_none() {
            return verdict;
        }
        verdict.causes = told.causes.iter().map(cause_words).collect();
        if let Some(rule) = told.cause().and_then(|finding| rule_of(finding.cause)) {
            verdict.run = rule.run.iter().filter_map(|command| filled_in(command, now)).collect();
            verdict.change = Some(on_interface(rule.remedy, now.key.interface.as_deref()));
        }
        verdict.missing.clone_from(&told.missing);
        let changes = episode.into_iter().flat_map(|episode| &episode.history);
        verdict.history.extend(changes.map(|change| {
            let ago = words::ago(now.at.saturating_sub(change.at));
            let to = change.to.name();
            match change.from {
                Some(from) => format!("{ago} the cause changed from {} to {to}: {}", from.name(), change.why),
                None => format!("{ago} the cause was found to be {to}: {}", change.why),
            }
        }));
        verdict
    }
}

impl Verdict {
    /// Creates the verdict of an episode alone: its causes and their remedy.
    pub(super) fn of_episode(episode: &Episode) -> Self {
        let rule = episode.cause().and_then(rule_of);
        let change = rule.map(|rule| on_interface(rule.remedy, episode.key.interface.as_deref()));
        Self {
            urgency: Urgency::Alarm,
            causes: episode.diagnosis.causes.iter().map(cause_words).collect(),
            change,
            missing: episode.diagnosis.missing.clone(),
            ..Self::default()
        }
    }
}

/// Time for which the verdict mentions a restart of the hardware queue.
const RESTART_IS_NEWS: Duration = Duration::from_mins(5);

/// Sentence on restarts of the hardware queue by the driver.
fn restarts(facts: &Facts<'_>) -> Option<String> {
    let (count, last) = facts.history.restarts()?;
    let ago = facts.now.at.saturating_sub(last);
    (ago <= RESTART_IS_NEWS).then(|| match count {
        1 => format!("{} the driver restarted the receive queue", words::ago(ago)),
        count => format!("{} the driver restarted the receive queue, {count} times so far", words::ago(ago)),
    })
}

/// Sentence on a receive ring that can take the whole area.
fn ring_larger_than_area(facts: &Facts<'_>) -> Option<String> {
    if without_device(facts.now) != Some(false) {
        return None;
    }
    let (ring, total) = facts.now.nic.ring.map(u64::from).zip(facts.placement.total)?;
    let needed = ring + POOL_CACHE;
    (total <= needed).then(|| {
        let smaller = facts.now.key.interface.as_deref().map_or_else(String::new, |interface| {
            format!(", or a smaller ring (ethtool -G {} rx N)", quoted(interface))
        });
        format!(
            "the receive ring of {ring} buffers and the page pool's cache of {POOL_CACHE} can take all {total} buffers of the area: \
             nothing is left for data on its way to the application; use an area of more than {needed} buffers{smaller}"
        )
    })
}

/// Sentence on the harm that a starving queue does to others by flow control.
fn stops_other_queues(facts: &Facts<'_>) -> Option<String> {
    (facts.now.nic.pauses == Some(true) && facts.starved()).then(|| {
        let interface = facts.now.key.interface.as_deref().map_or_else(|| "IF".to_owned(), quoted);
        format!(
            "the NIC sends pause frames: while this queue starves, packets for all other queues of the port wait too, and no drop is \
             counted; where other traffic shares the port, ethtool -A {interface} autoneg off tx off"
        )
    })
}

fn rule_of(cause: Cause) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.cause == cause)
}

fn cause_words(finding: &Finding) -> CauseWords {
    let rule = rule_of(finding.cause);
    let title = rule.map_or(finding.cause.name(), |rule| rule.title);
    let letter = rule.and_then(|rule| rule.letter).map_or_else(String::new, |letter| format!(" ({letter})"));
    let share = if finding.effect >= 0.005 {
        format!("{:.0} % of the problem", finding.effect * 100.0)
    } else {
        "possible instead of the cause above".to_owned()
    };
    CauseWords {
        cause: finding.cause,
        line: format!("{title}{letter}, confidence {}, {share}", finding.confidence.name()),
        evidence: finding.evidence.clone(),
        against: finding.against.clone(),
    }
}

/// Returns the first line of a verdict.
fn line(
    now: &QueueSample,
    alarm: Option<&Alarm>,
    episode: Option<&Episode>,
    vitals: &Vitals,
    forecast: &Forecast,
    soon: Option<Duration>,
) -> String {
    let rate = vitals.rates.bytes.map(|bytes| format!("{}/s", words::bytes(bytes)));
    let placement = &vitals.placement;
    let free = forecast
        .headroom
        .zip(placement.total)
        .map(|(share, total)| format!("{} of {total} buffers free", (share * total as f64).round() as u64));
    let head = match (alarm, episode) {
        (Some(alarm), _) => {
            let lasted = words::seconds(now.at.saturating_sub(alarm.since));
            format!("{} {lasted}", alarm.trouble.headline())
        }
        (None, Some(episode)) => {
            let ago = words::seconds(now.at.saturating_sub(episode.began));
            format!("RECOVERING, {} began {ago} ago", episode.trouble.headline())
        }
        (None, None) => match (soon, forecast.starvation_range) {
            (Some(_), Some((from, to))) => {
                format!("OK, but starves in {} to {}", words::seconds(from), words::seconds(to))
            }
            (Some(time), None) => format!("OK, but starves in {}", words::seconds(time)),
            (None, _) => "OK".to_owned(),
        },
    };
    let lost = vitals.rates.drops.filter(|&drops| {
        drops >= 0.5 && alarm.is_some_and(|alarm| alarm.trouble == Trouble::DroppingPackets)
    });
    let lost = lost.map(|drops| format!("{drops:.0} packets/s dropped"));
    let most = alarm.filter(|alarm| alarm.trouble != Trouble::NotZeroCopy);
    let most = most.and_then(|_| fullest(placement, now.owner.as_ref()));
    let facts: Vec<String> = [free, most, lost, rate].into_iter().flatten().collect();
    if facts.is_empty() { head } else { format!("{head}: {}", facts.join("; ")) }
}

/// Returns the place with the most buffers that are not free.
fn fullest(placement: &Placement, owner: Option<&Owner>) -> Option<String> {
    let who = owner.map_or_else(|| "the owner".to_owned(), |owner| format!("{}[{}]", owner.comm, owner.pid));
    let places = [
        (placement.held, format!("held by {who}")),
        (placement.stashed, format!("stashed by {who}")),
        (placement.completed, format!("in unread completions of {who}")),
        (placement.sockets, format!("in unread sockets of {who}")),
        (placement.pending, "in the refill ring".to_owned()),
        (placement.posted.or(placement.kernel), "with NIC and page pool".to_owned()),
    ];
    let known = places
        .into_iter()
        .filter_map(|(buffers, place)| Some((buffers.filter(|&buffers| buffers > 0)?, place)));
    let (buffers, place) = known.max_by_key(|place| place.0)?;
    Some(format!("{buffers} {place}"))
}

/// Destination of zcrxd's sink.
fn destination(now: &QueueSample) -> Option<String> {
    now.local.as_ref()?.sink_destination.clone()
}

/// Fills the values into a command; `None` if one of them is unknown.
fn filled_in(command: &str, now: &QueueSample) -> Option<String> {
    let mut text = command.to_owned();
    let port =
        now.local.as_ref().and_then(|local| local.listen.first()?.rsplit(':').next().map(str::to_owned));
    let places = [
        ("{pid}", now.owner.as_ref().map(|owner| owner.pid.to_string())),
        ("{fd}", now.owner.as_ref().and_then(|owner| owner.fd).map(|fd| fd.to_string())),
        ("{interface}", now.key.interface.clone()),
        ("{queue}", Some(now.key.queue.to_string())),
        ("{destination}", destination(now).filter(|destination| !destination.starts_with("unix:"))),
        (
            "{unix_destination}",
            destination(now).and_then(|destination| Some(destination.strip_prefix("unix:")?.to_owned())),
        ),
    ];
    for (place, value) in places {
        if text.contains(place) {
            text = text.replace(place, &quoted(&value?));
        }
    }
    // The port of another process's queue is unknown: the command finds the sockets by their process.
    let pid = now.owner.as_ref().map(|owner| owner.pid);
    if text.contains("'sport = :{port}'") {
        text = match (port, pid) {
            (Some(port), _) => text.replace("{port}", &port),
            (None, Some(pid)) => format!("{}p | grep -A1 pid={pid},", text.replace(" 'sport = :{port}'", "")),
            (None, None) => return None,
        };
    }
    Some(text)
}
