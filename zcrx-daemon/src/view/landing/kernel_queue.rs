//! Queues of any process in the kernel, with their counters.

use maud::{Markup, html};

use crate::model::{KernelQueue, KernelSnapshot, QueueSample};
use crate::view::format::{bytes, count, duration};

pub(super) fn section(snapshot: Option<&KernelSnapshot>, queues: &[QueueSample]) -> Markup {
    let Some(snapshot) = snapshot else { return html! {} };
    html! {
        section {
            h2 { "What the kernel counts" }
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
                @if queue.local.is_some() { ", zcrxd itself" }
                @if kernel.ring.is_none() { ", " span.fair { "its ring is gone, the exported queue lives on" } }
            }
            (figures(queue, kernel))
        }
    }
}

fn figures(queue: &QueueSample, kernel: &KernelQueue) -> Markup {
    html! {
        dl.figures {
            @if kernel.buffers() > 0 {
                (figure("freelist", &format!("{} of {}", count(kernel.free()), count(kernel.buffers())), ""))
            }
            @if let Some(user) = kernel.user_buffers() { (figure("user space", &count(user), "")) }
            @if let Some(cq) = kernel.cq.filter(|cq| cq.overflow > 0) {
                (figure("completions overflowed", &count(cq.overflow.into()), "bad"))
            }
            @if let Some(pool) = kernel.pool {
                (figure("page pool", &pool.id.to_string(), ""))
                (figure("in flight", &count(pool.inflight().into()), ""))
            }
            @if let Some(rest) = kernel.outside_pool() { (figure("unaccounted", &rest.to_string(), "")) }
            @if let Some(sockets) = kernel.sockets {
                (figure("unread in sockets", &bytes(sockets.unread_bytes), ""))
                (figure("sockets", &sockets.sockets.to_string(), ""))
            }
            @for socket in kernel.top_sockets.iter().flatten().take(1) {
                (figure("most waits at", &format!("{socket}: {}", bytes(socket.waiting())), ""))
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
