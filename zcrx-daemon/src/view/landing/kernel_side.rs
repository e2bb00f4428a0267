//! What the probes say: themselves, registrations of any process, page pools.

use std::time::Duration;

use maud::{Markup, html};

use crate::model::{PagePoolCount, ProbeSample, ProbeStatus, Registration};
use crate::observe::{errno_label, refusal};
use crate::view::format::{count, duration};

pub(super) fn probes(probes: &[ProbeStatus]) -> Markup {
    html! {
        section {
            h2 { "Probes" }
            @if probes.is_empty() {
                p.quiet { "Switched off: nothing is known of other programs' queues." }
            } @else {
                div.scroll { table {
                    thead { tr { th { "Probe" } th { "Attached by" } th { "Reports" } } }
                    tbody { @for probe in probes { (probe_row(probe)) } }
                } }
            }
        }
    }
}

fn probe_row(probe: &ProbeStatus) -> Markup {
    html! {
        tr {
            td { strong { (probe.name) } }
            td {
                @match &probe.attached {
                    Some((mechanism, target)) => {
                        span.pill.good { (mechanism.name()) } " " code { (target) }
                    },
                    None if !probe.asked => { span.pill { "not requested" } },
                    None => { span.pill.bad { "not attached" } },
                }
                @if !probe.asked {
                    p { (probe.refused.first().map_or("", |attempt| attempt.error.as_str())) }
                } @else if !probe.refused.is_empty() {
                    details open[probe.attached.is_none()] data-key=(format!("probe {}", probe.name)) {
                        summary { (probe.refused.len()) " refused" }
                        ul {
                            @for attempt in &probe.refused {
                                li { (attempt.mechanism.name()) " " code { (attempt.target) } ": " (attempt.error) }
                            }
                        }
                    }
                }
            }
            td {
                (probe.tells)
                @if probe.asked && probe.attached.is_none() { p.bad { "Unknown without it: " (probe.lost_without) } }
            }
        }
    }
}

pub(super) fn registrations(sample: &ProbeSample, now: Duration) -> Markup {
    let Some(counts) = &sample.registrations else { return html! {} };
    let total: u64 = counts.iter().map(|by_errno| by_errno.count).sum();
    html! {
        section {
            h2 { "Registrations of interface queues" }
            p {
                (count(total)) " seen"
                @for by_errno in counts.iter().filter(|by_errno| by_errno.errno != 0) {
                    ", " span.fair { (count(by_errno.count)) " " code { (errno_label(by_errno.errno)) } }
                }
                "."
                @if let Some(lost) = sample.lost_events.filter(|lost| *lost > 0) {
                    " " span.bad { (count(lost)) " events were lost." }
                }
            }
            @if !sample.recent_registrations.is_empty() {
                div.scroll { table {
                    thead { tr { th { "When" } th { "Who" } th { "Queue" } th { "Result" } th { "Took" } } }
                    tbody {
                        @for registration in sample.recent_registrations.iter().rev() {
                            (registration_row(registration, now))
                        }
                    }
                } }
            }
        }
    }
}

fn registration_row(registration: &Registration, now: Duration) -> Markup {
    let interface = registration
        .interface
        .clone()
        .or_else(|| registration.ifindex.map(|ifindex| format!("interface {ifindex}")));
    html! {
        tr {
            td { (duration(now.saturating_sub(registration.at))) " ago" }
            td { (registration.comm) " " span.quiet { (registration.pid) } }
            td {
                @match (interface, registration.queue) {
                    (Some(interface), Some(queue)) => { (interface) ":" (queue) },
                    (Some(interface), None) => { (interface) },
                    (None, Some(queue)) => { "queue " (queue) },
                    (None, None) => { span.quiet { "unknown" } },
                }
            }
            td {
                @if registration.errno == 0 { span.pill.good { "ok" } }
                @else { span.pill.bad { (errno_label(registration.errno)) } }
                @if let Some(refusal) = refusal(registration) {
                    p {
                        @if refusal.said_by_kernel { "The kernel says: " q { (refusal.why) } }
                        @else { "Can mean: " (refusal.why) }
                    }
                    p.quiet { "Remedy: " (refusal.remedy) }
                    @if !registration.hints.is_empty() {
                        ul { @for hint in &registration.hints { li { (hint) } } }
                    }
                }
            }
            td { (or_unknown(registration.duration.map(duration))) }
        }
    }
}

pub(super) fn page_pools(sample: &ProbeSample) -> Markup {
    let Some(pools) = &sample.page_pools else { return html! {} };
    html! {
        section {
            h2 { "Page pools" }
            @if pools.is_empty() {
                p.quiet { "None took in or gave up a page since zcrxd started." }
            } @else {
                div.scroll { table {
                    thead { tr {
                        th { "Pool" } th { "Interface" } th { "Fed by" }
                        th.number { "Taken in" } th.number { "Given up" }
                    } }
                    tbody { @for pool in pools { (page_pool_row(pool)) } }
                } }
            }
        }
    }
}

fn page_pool_row(pool: &PagePoolCount) -> Markup {
    let interface =
        pool.interface.clone().or_else(|| pool.ifindex.map(|ifindex| format!("interface {ifindex}")));
    let fed_by = pool.provider.map(|provider| if provider { "memory provider" } else { "pages" });
    html! {
        tr {
            td { (or_unknown(pool.id)) }
            td { (or_unknown(interface)) }
            td { (or_unknown(fed_by)) }
            td.number { (count(pool.held)) }
            td.number { (count(pool.released)) }
        }
    }
}

fn or_unknown<T: std::fmt::Display>(value: Option<T>) -> Markup {
    html! {
        @if let Some(value) = value { (value.to_string()) } @else { span.quiet { "unknown" } }
    }
}
