//! What is wrong, why, and what to do: the first thing that somebody on call wants to read.

use maud::{Markup, html};

use crate::diagnose::{HostDiagnosis, Report, Sizes, Starvation, title};
use crate::model::{Cause, Diagnosis, Episode, Finding, Owner};
use crate::view::format::{count, duration};

pub(super) fn section(host: &HostDiagnosis) -> Markup {
    let (troubled, calm): (Vec<_>, Vec<_>) = host.queues.iter().partition(|report| report.troubled());
    html! {
        @if host.at.is_some() && !host.queues.is_empty() {
            section {
                h2 { "Diagnosis" }
                @for report in troubled { (trouble(report)) }
                @if !calm.is_empty() {
                    div.scroll { table {
                        thead { tr { th { "Queue" } th { "Owner" } th { "Verdict" } th { "Outlook" } } }
                        tbody { @for report in calm { (calm_row(report)) } }
                    } }
                }
            }
        }
        @if !host.recent.is_empty() {
            section {
                h2 { "Episodes that are over" }
                div.scroll { table {
                    thead { tr { th { "Ended" } th { "Queue" } th { "Trouble" } th { "Cause" } th { "Lasted" } } }
                    tbody {
                        @for episode in host.recent.iter().rev() { (episode_row(episode, host)) }
                    }
                } }
            }
        }
    }
}

fn trouble(report: &Report) -> Markup {
    // During an episode, its diagnosis stands until a surer one is made.
    let diagnosis = report.episode.as_ref().map_or(&report.diagnosis, |episode| &episode.diagnosis);
    html! {
        article {
            h3 {
                (report.key) " " (of_owner(report.owner.as_ref()))
                @for alarm in &report.diagnosis.alarms {
                    " " span.pill.bad { (alarm.trouble.name()) " for " (duration(report.at.saturating_sub(alarm.since))) }
                }
                @if report.diagnosis.alarms.is_empty() { " " span.pill.fair { "just over" } }
            }
            @for alarm in &report.diagnosis.alarms { p { (alarm.words) "." } }
            (causes(diagnosis))
            p.quiet { (outlook(report)) }
        }
    }
}

fn causes(diagnosis: &Diagnosis) -> Markup {
    html! {
        @if diagnosis.causes.is_empty() { p { strong { "Cause unknown" } } }
        @for (position, finding) in diagnosis.causes.iter().enumerate() {
            details open[position == 0] {
                summary {
                    strong { (title(finding.cause)) }
                    ", confidence " (finding.confidence.name())
                    ", effect " (format!("{:.0} %", finding.effect * 100.0))
                }
                (evidence(finding))
            }
        }
        @if !diagnosis.missing.is_empty() {
            p.quiet { "Not known, and would help to tell: " (diagnosis.missing.join("; ")) "." }
        }
    }
}

fn evidence(finding: &Finding) -> Markup {
    html! {
        ul {
            @for words in &finding.evidence { li { (words) } }
            @for words in &finding.against { li.fair { "against it: " (words) } }
        }
        p { strong { "Do: " } (finding.remedy) }
    }
}

fn calm_row(report: &Report) -> Markup {
    html! {
        tr {
            td { (report.key) }
            td { (of_owner(report.owner.as_ref())) }
            td { span.pill.good { "nothing is wrong" } }
            td { (outlook(report)) }
        }
    }
}

fn episode_row(episode: &Episode, host: &HostDiagnosis) -> Markup {
    let now = host.at.unwrap_or_default();
    html! {
        tr {
            td { (duration(now.saturating_sub(episode.ended.unwrap_or(now)))) " ago" }
            td { (episode.key) " " (of_owner(episode.owner.as_ref())) }
            td { (episode.trouble.name()) }
            td { (episode.cause().map_or("unknown", Cause::name)) }
            td { (duration(episode.lasted(now))) }
        }
    }
}

/// What is to be expected, as far as it can be told.
fn outlook(report: &Report) -> String {
    let starvation = report.forecast.starvation.known().map(|starvation| match starvation {
        Starvation::Now => "starves now".to_owned(),
        Starvation::In(time) => format!("starves in {} at this rate", duration(*time)),
        Starvation::NotAtThisRate => "does not starve at this rate".to_owned(),
    });
    let headroom = report.forecast.headroom.map(|share| format!("headroom {:.0} %", share * 100.0));
    let sizes = report.forecast.sizes.known().map(|Sizes { area_buffers, refill_entries, .. }| {
        let (area, refill) = (count(*area_buffers), count(u64::from(*refill_entries)));
        format!("this load wants an area of {area} buffers and a refill ring of {refill} entries")
    });
    let told: Vec<_> = [starvation, headroom, sizes].into_iter().flatten().collect();
    if told.is_empty() { "cannot be told".to_owned() } else { told.join("; ") }
}

fn of_owner(owner: Option<&Owner>) -> Markup {
    html! {
        @if let Some(owner) = owner { (owner.comm) " " span.quiet { "pid " (owner.pid) } }
    }
}
