//! Text on queues that page and terminal share.

use std::time::Duration;

use crate::diagnose::{Answer, HostDiagnosis, Report, SOON, Sizes, Starvation, Urgency};

use super::format::{brief, count, duration, share};

/// The name of an urgency's style on the page.
pub(crate) const fn class(urgency: Urgency) -> &'static str {
    match urgency {
        Urgency::Alarm => "bad",
        Urgency::Soon => "fair",
        Urgency::Calm => "good",
    }
}

/// The highest urgency of all queues.
pub(crate) fn urgency(host: &HostDiagnosis) -> Urgency {
    host.queues.iter().map(|report| report.verdict.urgency).min().unwrap_or_default()
}

/// The state of the host in one line.
pub(crate) fn summary(host: &HostDiagnosis) -> String {
    let all = host.queues.len();
    let alarmed = host.queues.iter().filter(|report| report.troubled()).count();
    let soon = host.queues.iter().filter(|report| !report.troubled() && foreseen(report).is_some()).count();
    let said = match (all, alarmed) {
        _ if host.at.is_none() => "no sample yet".to_owned(),
        (0, _) => "no zcrx queue on this host".to_owned(),
        (1, 0) => "1 queue, no problem".to_owned(),
        (_, 0) => format!("{all} queues, no problem"),
        (1, _) => "the only queue has a problem".to_owned(),
        _ => format!("queues with a problem: {alarmed} of {all}"),
    };
    match soon {
        0 => said,
        1 => format!("{said}; one will starve soon"),
        _ => format!("{said}; {soon} will starve soon"),
    }
}

/// Time until the queue starves, if it starves soon.
fn foreseen(report: &Report) -> Option<Duration> {
    match report.forecast.starvation.known()? {
        Starvation::In(time) if *time <= SOON => Some(*time),
        _ => None,
    }
}

/// The first cause in one or two words; empty for a queue without a problem.
pub(crate) fn cause(report: &Report) -> String {
    match report.verdict.causes.first() {
        _ if !report.troubled() => String::new(),
        Some(words) => words.cause.name().replace('_', " "),
        None => "unknown".to_owned(),
    }
}

/// The queue's owner: `receiver, pid 4242, /system.slice/ingest.service`.
pub(crate) fn owner(report: &Report) -> String {
    let Some(owner) = &report.owner else { return "owner unknown".to_owned() };
    let cgroup = report.owner_cgroup.as_deref().filter(|path| *path != "/");
    let place = cgroup.map(|path| format!(", {path}")).unwrap_or_default();
    format!("{}, pid {}{place}", owner.comm, owner.pid)
}

/// Time until the queue starves, in a few letters: `now`, `30 s`, `no`, or `?` if unknown.
pub(crate) fn starves(report: &Report) -> String {
    match report.forecast.starvation.known() {
        Some(Starvation::Now) => "now".to_owned(),
        Some(Starvation::In(time)) => brief(*time),
        Some(Starvation::NotAtThisRate) => "no".to_owned(),
        None => "?".to_owned(),
    }
}

/// The forecast as phrases; each unknown value with the reason.
pub(crate) fn outlook(report: &Report) -> Vec<String> {
    let forecast = &report.forecast;
    let mut said = vec![match &forecast.starvation {
        Answer::Known(Starvation::Now) => "starves now".to_owned(),
        Answer::Known(Starvation::In(time)) => {
            let range = forecast.starvation_range.map_or_else(String::new, |(from, to)| {
                format!(" (80 %: {} to {})", duration(from), duration(to))
            });
            format!("starves in {} at this rate{range}", duration(*time))
        }
        Answer::Known(Starvation::NotAtThisRate) => "does not starve at this rate".to_owned(),
        Answer::Unknown(why) => format!("time to starvation unknown: {why}"),
    }];
    if let Some(headroom) = forecast.headroom {
        said.push(format!("{} of the area is allocatable", share(headroom)));
    }
    if let Some(time) = forecast.hold_time.filter(|time| !time.is_zero()) {
        said.push(format!("the owner holds a buffer for {} on average", duration(time)));
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
