//! The landing page: one page that loads nothing from other hosts.
//!
//! The server renders it from one sample, and it works without a script; with JavaScript it updates every few seconds. `maud`
//! escapes all text, because thread names and the kernel's messages come from outside.

mod diagnosis;
mod kernel_queue;
mod kernel_side;
mod queue;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::diagnose::HostDiagnosis;
use crate::observe::Observation;
use crate::view::{format, words};

/// Takes a new copy of the page every few seconds, unless the tab is hidden or text is selected.
pub const REFRESH: &str = include_str!("refresh.js");
const STYLE: &str = include_str!("style.css");

/// The page. `not_ready` are the reasons why a configured part does not work; empty if all work. `metrics` is the path of the
/// metrics.
pub fn page(
    observation: &Observation,
    diagnosis: &HostDiagnosis,
    not_ready: &[String],
    metrics: &str,
) -> String {
    let host = &observation.host;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title(diagnosis)) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
                noscript { meta http-equiv="refresh" content="10"; }
                script src="/refresh.js" defer {}
            }
            body {
                main {
                    (header(observation, not_ready, metrics))
                    (diagnosis::banner(diagnosis))
                    (diagnosis::section(diagnosis))
                    section {
                        h2 { "What zcrxd itself receives" }
                        @if host.receive.is_empty() {
                            p.quiet {
                                "None: zcrxd observes. " code { "zcrxd run --listen 127.0.0.1:7000" }
                                " receives too."
                            }
                        }
                        @for sample in &host.receive { (queue::card(sample)) }
                    }
                    (kernel_queue::section(host.probe.snapshot.as_ref(), &host.queues))
                    (kernel_side::probes(&host.probe.probes))
                    (kernel_side::registrations(&host.probe, observation.monotonic))
                    (kernel_side::page_pools(&host.probe))
                }
            }
        }
    }
    .into_string()
}

/// What a tab in the background says.
fn title(diagnosis: &HostDiagnosis) -> String {
    let summary = if diagnosis.at.is_some() { words::summary(diagnosis) } else { "starting".to_owned() };
    format!("{summary} · zcrxd")
}

fn header(observation: &Observation, not_ready: &[String], metrics: &str) -> Markup {
    let process = observation.process.as_ref();
    let now = observation.host.at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    html! {
        header {
            h1 { "zcrxd " small { (env!("CARGO_PKG_VERSION")) } }
            @if not_ready.is_empty() {
                span.pill.good { "ready" }
            } @else {
                span.pill.bad { "not ready" }
            }
            nav {
                a href=(metrics) { "metrics" }
                a href="/diagnose.json" { "diagnosis" }
                a href="/healthz" { "healthz" }
                a href="/readyz" { "readyz" }
            }
        }
        p.quiet {
            "Linux " (observation.host.kernel)
            @if let Some(started) = process.and_then(|process| process.started) {
                " · up " (format::duration(now.saturating_sub(started)))
            }
            @if let Some(process) = process {
                " · " (format::bytes(process.resident_bytes)) " resident"
            }
            " · " (format::utc(now))
        }
        @if !not_ready.is_empty() {
            ul.reasons { @for reason in not_ready { li { (reason) } } }
        }
    }
}

#[cfg(test)]
mod tests;
