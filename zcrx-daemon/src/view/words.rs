//! What page and terminal both say of a queue.

use std::time::Duration;

use crate::diagnose::{Answer, HostDiagnosis, Report, Sizes, Starvation};
use crate::model::Diagnosis;

use super::format::{brief, count, duration, share};

/// How soon a starvation must come for the reader to be told before it is there.
const SOON: Duration = Duration::from_mins(5);

/// How worried to be about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Worry {
    /// It is in trouble.
    Trouble,
    /// It was, or will be soon.
    Soon,
    /// Not at all.
    None,
}

impl Worry {
    /// About this queue.
    pub(crate) fn about(report: &Report) -> Self {
        match report.forecast.starvation.known() {
            _ if !report.diagnosis.alarms.is_empty() => Self::Trouble,
            _ if report.episode.is_some() => Self::Soon,
            Some(Starvation::In(time)) if *time <= SOON => Self::Soon,
            _ => Self::None,
        }
    }

    /// The name of its style on the page.
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Trouble => "bad",
            Self::Soon => "fair",
            Self::None => "good",
        }
    }
}

/// The greatest worry about any queue.
pub(crate) fn worry(host: &HostDiagnosis) -> Worry {
    host.queues.iter().map(Worry::about).min().unwrap_or(Worry::None)
}

/// The state of the host in one line.
pub(crate) fn summary(host: &HostDiagnosis) -> String {
    let all = host.queues.len();
    let troubled = host.queues.iter().filter(|report| report.troubled()).count();
    let soon = host.queues.iter().filter(|report| !report.troubled() && foreseen(report).is_some()).count();
    let said = match (all, troubled) {
        _ if host.at.is_none() => "not looked yet".to_owned(),
        (0, _) => "no zcrx queue on this host".to_owned(),
        (1, 0) => "1 queue, and nothing is wrong with it".to_owned(),
        (_, 0) => format!("{all} queues, and nothing is wrong with any"),
        (1, _) => "the one queue is in trouble".to_owned(),
        _ => format!("{troubled} of {all} queues in trouble"),
    };
    match soon {
        0 => said,
        1 => format!("{said}; one will starve soon"),
        _ => format!("{said}; {soon} will starve soon"),
    }
}

/// How long until it starves, if that is soon.
fn foreseen(report: &Report) -> Option<Duration> {
    match report.forecast.starvation.known()? {
        Starvation::In(time) if *time <= SOON => Some(*time),
        _ => None,
    }
}

/// What is wrong, and for how long.
pub(crate) fn verdict(report: &Report) -> String {
    match (report.diagnosis.alarms.first(), &report.episode) {
        (Some(alarm), _) => {
            let time = duration(report.at.saturating_sub(alarm.since));
            let words = alarm.trouble.words();
            match words.split_once(": ") {
                Some((name, how)) => format!("{name} for {time}: {how}"),
                None => format!("{words}, for {time}"),
            }
        }
        (None, Some(episode)) => {
            let began = duration(report.at.saturating_sub(episode.began));
            format!("flows again; it was {} {began} ago", episode.trouble.name().replace('_', " "))
        }
        (None, None) => match foreseen(report) {
            Some(time) => format!("nothing is wrong yet, but it starves in {}", duration(time)),
            None => "nothing is wrong".to_owned(),
        },
    }
}

/// What is to be believed of the cause: during an episode, its diagnosis stands until a surer one is made.
pub(crate) fn diagnosis(report: &Report) -> &Diagnosis {
    report.episode.as_ref().map_or(&report.diagnosis, |episode| &episode.diagnosis)
}

/// The cause in a word or two; empty for a queue with which nothing is wrong.
pub(crate) fn cause(report: &Report) -> String {
    match diagnosis(report).cause() {
        _ if !report.troubled() => String::new(),
        Some(finding) => finding.cause.name().replace('_', " "),
        None => "unknown".to_owned(),
    }
}

/// Who has it: `receiver, pid 4242, /system.slice/ingest.service`.
pub(crate) fn owner(report: &Report) -> String {
    let Some(owner) = &report.owner else { return "owner unknown".to_owned() };
    let cgroup = report.owner_cgroup.as_deref().filter(|path| *path != "/");
    let place = cgroup.map(|path| format!(", {path}")).unwrap_or_default();
    format!("{}, pid {}{place}", owner.comm, owner.pid)
}

/// When it starves, in a few letters: `now`, `30 s`, `no`, or `?` where that cannot be told.
pub(crate) fn starves(report: &Report) -> String {
    match report.forecast.starvation.known() {
        Some(Starvation::Now) => "now".to_owned(),
        Some(Starvation::In(time)) => brief(*time),
        Some(Starvation::NotAtThisRate) => "no".to_owned(),
        None => "?".to_owned(),
    }
}

/// What is to be expected, and why it cannot be told where it cannot.
pub(crate) fn outlook(report: &Report) -> Vec<String> {
    let forecast = &report.forecast;
    let mut said = vec![match &forecast.starvation {
        Answer::Known(Starvation::Now) => "starves now".to_owned(),
        Answer::Known(Starvation::In(time)) => format!("starves in {} at this rate", duration(*time)),
        Answer::Known(Starvation::NotAtThisRate) => "does not starve at this rate".to_owned(),
        Answer::Unknown(why) => format!("time to starvation unknown: {why}"),
    }];
    if let Some(headroom) = forecast.headroom {
        said.push(format!("{} of the area can still be given out", share(headroom)));
    }
    if let Some(time) = forecast.hold_time.filter(|time| !time.is_zero()) {
        said.push(format!("a buffer is out for {} on average", duration(time)));
    }
    said.push(match &forecast.sizes {
        Answer::Known(Sizes { area_buffers, refill_entries, at_least, .. }) => format!(
            "this load wants an area of {}{} buffers and a refill ring of {} entries",
            if *at_least { "at least " } else { "" },
            count(*area_buffers),
            count(u64::from(*refill_entries))
        ),
        Answer::Unknown(why) => format!("sizes for this load unknown: {why}"),
    });
    said
}
