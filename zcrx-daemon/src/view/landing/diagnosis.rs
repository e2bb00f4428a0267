//! The page's first section: which queue has a problem, its cause, and what the engineer on call should do.

use maud::{Markup, html};

use crate::diagnose::{HostDiagnosis, Report, Trace};
use crate::model::{Cause, Episode};
use crate::view::format::{count, duration, percent, rate};
use crate::view::places::{Place, places};
use crate::view::words;

/// The verdict on the host, before anything else.
pub(super) fn banner(host: &HostDiagnosis) -> Markup {
    html! { @if host.at.is_some() { p.banner.(words::class(words::urgency(host))) { (words::summary(host)) } } }
}

pub(super) fn section(host: &HostDiagnosis) -> Markup {
    let mut queues: Vec<&Report> = host.queues.iter().collect();
    queues.sort_by_key(|report| report.verdict.urgency);
    html! {
        @if host.at.is_some() && !host.queues.is_empty() {
            section {
                h2 { "Queues" }
                @for report in queues { (card(report)) }
                (legend())
            }
        }
        @if !host.recent.is_empty() {
            section {
                h2 { "Episodes that are over" }
                div.scroll { table {
                    thead { tr { th { "Ended" } th { "Queue" } th { "Problem" } th { "Cause" } th { "Lasted" } } }
                    tbody {
                        @for episode in host.recent.iter().rev() { (episode_row(episode, host)) }
                    }
                } }
            }
        }
    }
}

fn card(report: &Report) -> Markup {
    let tone = words::class(report.verdict.urgency);
    html! {
        article.(tone) {
            h3 {
                (report.key) " " span.(tone) { (report.verdict.line) }
                @if let Some(bytes) = report.vitals.rates.bytes { span.rate { (rate(bytes)) } }
            }
            p.quiet { (words::owner(report)) }
            @for alarm in &report.verdict.alarms { p { (alarm) "." } }
            @for note in &report.verdict.notes { p { (note) "." } }
            @if report.troubled() { (causes(report)) }
            (bars(report))
            p.quiet.outlook { (words::outlook(report).join("; ")) "." }
        }
    }
}

fn causes(report: &Report) -> Markup {
    let verdict = &report.verdict;
    html! {
        @if verdict.causes.is_empty() { p { strong { "Cause unknown" } } }
        @for (position, cause) in verdict.causes.iter().enumerate() {
            details open[position == 0] data-key=(format!("{} {}", report.key, cause.cause)) {
                summary { strong { (cause.line) } }
                ul {
                    @for words in &cause.evidence { li { (words) } }
                    @for words in &cause.against { li.fair { "against it: " (words) } }
                }
                @if position == 0 {
                    @if !verdict.run.is_empty() {
                        p { strong { "Run:" } }
                        ul { @for command in &verdict.run { li { code { (command) } } } }
                    }
                    @if let Some(change) = &verdict.change { p { strong { "Do: " } (change) } }
                }
            }
        }
        @if !verdict.missing.is_empty() {
            p.quiet { "Not known, and would help to find the cause: " (verdict.missing.join("; ")) "." }
        }
        @for change in &verdict.history { p.quiet { (change) "." } }
    }
}

/// Where the buffers are, and how full the two rings.
fn bars(report: &Report) -> Markup {
    let placement = &report.vitals.placement;
    let found = places(placement);
    html! {
        div.bars {
            @if let (Some(found), Some(total)) = (&found, placement.total) {
                span { "Area " small { (count(total)) } }
                div.bar {
                    @for (place, buffers) in found {
                        @if *buffers > 0 && !matches!(place, Place::Free | Place::Elsewhere) {
                            i.(place.class()) style=(width(*buffers, total)) title=(place.name()) {}
                        }
                    }
                }
                span.legend {
                    @for (position, (place, buffers)) in found.iter().filter(|(_, buffers)| *buffers > 0).enumerate() {
                        @if position > 0 { " · " }
                        b.(place.class()) { (count(*buffers)) } " " (place.name())
                    }
                }
            }
            @if let (Some(depth), Some(entries)) = (placement.refill_depth, placement.refill_entries) {
                span { "Refill ring" }
                div.bar { i.waiting style=(width(depth, entries)) {} }
                span.legend { (count(depth)) " of " (count(entries)) " entries wait for the kernel" }
            }
            @if let (Some(depth), Some(entries)) = (placement.cq_depth, placement.cq_entries) {
                span { "Completions" }
                div.bar { i.unread style=(width(depth, entries)) {} }
                span.legend { (count(depth)) " of " (count(entries)) " wait for the application" }
            }
            (past(&report.vitals.trace))
        }
    }
}

/// Share of allocatable buffers over the remembered time.
fn past(trace: &Trace) -> Markup {
    let steps = trace.available.len();
    let known = trace.available.iter().enumerate();
    let points: Vec<String> = known
        .filter_map(|(step, percent)| Some(format!("{step},{}", 100 - u32::from((*percent)?.min(100)))))
        .collect();
    html! {
        @if points.len() > 1 {
            span { "Available" }
            svg.past viewBox=(format!("0 -3 {} 106", steps - 1)) preserveAspectRatio="none" role="img"
                aria-label="share of the area that is allocatable" {
                polyline points=(points.join(" ")) {}
            }
            span.legend { "the last " (duration(trace.span)) ", from none to all of the area" }
        }
    }
}

fn width(part: u64, whole: u64) -> String {
    format!("width:{}", percent(part, whole))
}

/// Meaning of the colours, as text for devices without a pointer.
fn legend() -> Markup {
    html! {
        p.key {
            @for place in [Place::Held, Place::Stashed, Place::Completed, Place::Sockets, Place::Posted, Place::Refill] {
                span { i.(place.class()) {} " " (place.name()) }
            }
            span { i.free {} " free" }
        }
    }
}

fn episode_row(episode: &Episode, host: &HostDiagnosis) -> Markup {
    let now = host.at.unwrap_or_default();
    html! {
        tr {
            td { (duration(now.saturating_sub(episode.ended.unwrap_or(now)))) " ago" }
            td { (episode.key) " " @if let Some(owner) = &episode.owner { (owner.comm) " " span.quiet { "pid " (owner.pid) } } }
            td { (episode.trouble.name()) }
            td { (episode.cause().map_or("unknown", Cause::name)) }
            td { (duration(episode.lasted(now))) }
        }
    }
}
