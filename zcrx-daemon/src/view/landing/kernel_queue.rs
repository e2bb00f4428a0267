//! Queues in the kernel, whoever owns them: who has the buffers, and whether any are left.

use maud::{Markup, html};

use super::format::{bytes, count, duration, percent};
use crate::model::{KernelQueue, KernelSnapshot, QueueSample};

pub(super) fn section(snapshot: Option<&KernelSnapshot>, queues: &[QueueSample]) -> Markup {
    let Some(snapshot) = snapshot else { return html! {} };
    html! {
        section {
            h2 { "Queues in the kernel" }
            @if snapshot.queues.is_empty() {
                p.quiet { "None: no process on this host has registered a zcrx queue." }
            }
            @if !snapshot.incomplete.is_empty() {
                ul.reasons { @for reason in &snapshot.incomplete { li { "Something may be missing: " (reason) } } }
            }
            @for queue in queues {
                @if let Some(kernel) = &queue.kernel { (card(queue, kernel)) }
            }
        }
    }
}

fn card(queue: &QueueSample, kernel: &KernelQueue) -> Markup {
    let starving = kernel.allocation.and_then(|count| count.starving_since);
    html! {
        article {
            h3 {
                (queue.key)
                @if let Some(since) = starving {
                    " " span.pill.bad { "no buffers for " (duration(queue.at.saturating_sub(since))) }
                }
            }
            p {
                @match &queue.owner {
                    Some(owner) => { strong { (owner.comm) } " " span.quiet { "pid " (owner.pid) } },
                    None => { span.quiet { "owner unknown" } },
                }
                @if kernel.owners.len() > 1 {
                    span.quiet { " and " (kernel.owners.len() - 1) " more" }
                }
                @if queue.own.is_some() { ", zcrxd itself" }
                @if kernel.ring.is_none() { ", " span.fair { "its ring is gone, the exported queue lives on" } }
            }
            div.bars {
                (area(kernel))
                (refill(kernel))
                (completions(kernel))
            }
            (figures(queue, kernel))
        }
    }
}

fn area(kernel: &KernelQueue) -> Markup {
    let (all, free) = (kernel.buffers(), kernel.free());
    let user = kernel.user_buffers();
    html! {
        @if all > 0 {
            span { "Area " small { (count(all)) " buffers" } }
            div.bar {
                @if let Some(user) = user {
                    i.held style=(width(user, all)) {}
                    i.plain style=(width(all.saturating_sub(user + free), all)) {}
                }
            }
            span.legend {
                @if let Some(user) = user {
                    b.held { (count(user)) } " user space · "
                    (count(all.saturating_sub(user + free))) " kernel · "
                }
                (count(free)) " on the freelist"
            }
        }
    }
}

fn refill(kernel: &KernelQueue) -> Markup {
    html! {
        @if let Some(refill) = kernel.refill {
            span { "Refill ring" }
            div.bar { i.waiting style=(width(refill.pending().into(), refill.entries.into())) {} }
            span.legend { (count(refill.pending().into())) " of " (count(refill.entries.into())) " entries" }
        }
    }
}

fn completions(kernel: &KernelQueue) -> Markup {
    html! {
        @if let Some(cq) = kernel.cq {
            span { "Completions" }
            div.bar { i.plain style=(width(cq.depth().into(), cq.entries.into())) {} }
            span.legend {
                (count(cq.depth().into())) " of " (count(cq.entries.into())) " unread"
                @if cq.overflow > 0 { ", " span.bad { (count(cq.overflow.into())) " overflowed" } }
            }
        }
    }
}

fn width(part: u64, whole: u64) -> String {
    format!("width:{}", percent(part, whole))
}

fn figures(queue: &QueueSample, kernel: &KernelQueue) -> Markup {
    html! {
        dl.figures {
            @if let Some(pool) = kernel.pool {
                (figure("page pool", &pool.id.to_string(), ""))
                (figure("in flight", &count(pool.inflight().into()), ""))
            }
            @if let Some(rest) = kernel.outside_pool() { (figure("unaccounted", &rest.to_string(), "")) }
            @if let Some(sockets) = kernel.sockets {
                (figure("unread in sockets", &bytes(sockets.unread_bytes), ""))
                (figure("sockets", &sockets.sockets.to_string(), ""))
            }
            @if let Some(reason) = &kernel.sockets_unknown {
                (figure("unread in sockets", &format!("unknown: {reason}"), ""))
            }
            @if let Some(reason) = &queue.nic_unknown {
                (figure("NIC's figures", &format!("unknown: {reason}"), ""))
            }
            @if let Some(allocation) = kernel.allocation {
                (figure("allocations", &count(allocation.calls), ""))
                (figure("failed", &count(allocation.failures), if allocation.failures > 0 { "fair" } else { "" }))
                @if let Some(last) = allocation.last_success {
                    (figure("last success", &format!("{} ago", duration(queue.at.saturating_sub(last))), ""))
                }
                (figure("starved in all", &duration(allocation.starved), ""))
            }
        }
    }
}

fn figure(name: &str, value: &str, tone: &str) -> Markup {
    html! { div { dt { (name) } dd class=(tone) { (value) } } }
}
