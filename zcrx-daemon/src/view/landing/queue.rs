//! One local queue: backend, state and counters.

use maud::{Markup, html};

use crate::model::{BackendKind, QueueState, ReceiveSample};
use crate::observe::errno_label;
use crate::view::format::{bytes, count};

pub(super) fn card(queue: &ReceiveSample) -> Markup {
    let tone = match queue.state {
        QueueState::Running => "good",
        QueueState::Degraded => "fair",
        QueueState::Failed | QueueState::Stopped => "bad",
    };
    html! {
        article {
            h3 {
                (queue.key) " "
                span.pill.(tone) { (queue.state.name()) }
                @if queue.starving == Some(true) { " " span.pill.bad { "starving" } }
            }
            p {
                @match queue.selection.backend {
                    Some(backend) => { "Backend " strong { (backend) } },
                    None => { "No backend works" },
                }
                ", sink " strong { (queue.sink) } ", listening on "
                @for (index, address) in queue.listen.iter().enumerate() {
                    @if index > 0 { ", " }
                    code { (address) }
                }
                @if let Some(reason) = reason(queue) { ". " span.(tone) { (reason) } }
            }
            @if !queue.selection.refused.is_empty() {
                details data-key=(format!("refused {}", queue.key)) {
                    summary { "Why not a better backend: " (refused_names(queue)) " refused" }
                    dl {
                        @for refusal in &queue.selection.refused {
                            dt {
                                (refusal.backend)
                                @if let Some(errno) = refusal.errno { " " code { (errno_label(errno)) } }
                            }
                            dd { (refusal.step) ": " (refusal.reason) ". " span.remedy { (refusal.remedy) } }
                        }
                    }
                }
            }
            (figures(queue))
        }
    }
}

/// Why the queue is not simply running. Refusals have their own row, so the effect is enough here.
fn reason(queue: &ReceiveSample) -> Option<&str> {
    if queue.state == QueueState::Degraded && !queue.selection.refused.is_empty() {
        return match queue.selection.backend {
            Some(BackendKind::Copy) => Some("Every byte is copied, by an ordinary receive"),
            Some(BackendKind::Nodev) => Some("Every byte is copied, by the kernel"),
            Some(BackendKind::Device) | None => Some(&queue.state_reason),
        };
    }
    (!queue.state_reason.is_empty()).then_some(&queue.state_reason)
}

fn refused_names(queue: &ReceiveSample) -> String {
    queue.selection.refused.iter().map(|refusal| refusal.backend.name()).collect::<Vec<_>>().join(" and ")
}

fn figures(queue: &ReceiveSample) -> Markup {
    html! {
        dl.figures {
            (figure("received", &bytes(queue.bytes), ""))
            @if let Some(copied) = queue.copied_bytes { (figure("of it copied", &bytes(copied), "")) }
            (figure("area", &bytes(queue.area_bytes), ""))
            (figure("completions", &count(queue.completions), ""))
            @if queue.cq_overflows > 0 {
                (figure("completions overflowed", &count(queue.cq_overflows), "bad"))
            }
            (figure("connections", &format!("{} of {}", count(queue.connections), count(queue.accepted)), ""))
            (figure("delivered", &count(queue.dispensed), ""))
            (figure("returned", &count(queue.returned), ""))
            @if let Some(starvations) = queue.starvations {
                (figure("starvations", &count(starvations), if_any(starvations, "fair")))
            }
            @if queue.sink == "verify" {
                (figure("verified", &bytes(queue.verified_bytes), ""))
                (figure("mismatched", &bytes(queue.mismatched_bytes), if_any(queue.mismatched_bytes, "bad")))
            }
            @if let Some(zcrx) = &queue.zcrx {
                @if let Some(events) = zcrx.counts.events {
                    (figure("NIC found no buffer", &count(events.alloc_fail), if_any(events.alloc_fail, "fair")))
                }
                @if zcrx.counts.areas > 1 { (figure("areas", &count(zcrx.counts.areas.into()), "")) }
                @for fallback in &zcrx.fallbacks {
                    (figure(&format!("without {}", fallback.feature.name()), &fallback.reason, "fair"))
                }
            }
            @for (errno, times) in &queue.errors {
                (figure(&format!("ended by {}", errno_label(*errno)), &count(*times), "fair"))
            }
            @for (errno, times) in &queue.accept_errors {
                (figure(&format!("not accepted: {}", errno_label(*errno)), &count(*times), "fair"))
            }
            @for (errno, times) in &queue.sink_errors {
                (figure(&format!("sink: {}", errno_label(*errno)), &count(*times), "fair"))
            }
        }
    }
}

/// The tone of a number that should be 0.
const fn if_any(number: u64, tone: &'static str) -> &'static str {
    if number > 0 { tone } else { "" }
}

fn figure(name: &str, value: &str, tone: &str) -> Markup {
    html! { div { dt { (name) } dd class=(tone) { (value) } } }
}
