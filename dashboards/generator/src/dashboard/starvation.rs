//! For the engineer on call: which queue starves, since when, why, its owner, and which queue will starve.

use super::panel::{COUNT, GREEN, ORANGE, Panel, RATE, RED, SECONDS, SHARE, STATE};
use super::{Dashboard, Row};

/// Restricts a query to queues with a problem.
macro_rules! with_problem {
    ($query:literal) => {
        concat!($query, " and on (job, instance, interface, queue) (zcrx_queue_episode_active{QUEUE} == 1)")
    };
}

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "starvation",
        title: "zcrx / Starvation on call",
        description: "Which queues starve, since when, why, who owns them, and what is to be expected. From left to right, then down.",
        of_queues: true,
        one_host: false,
        open_rows: 2,
        from: "1h",
        rows: vec![now(), evidence(), forecast(), history()],
    }
}

fn now() -> Row {
    Row {
        title: "Now: what, since when, why, whose",
        panels: vec![
            Panel::table("1. Problems and their duration", SECONDS, "Current problems. The queue links to its dashboard. Empty: no problem, or zcrxd misses information (see the last row of the dashboard zcrxd).")
                .ask("sort_desc(zcrx_queue_alarm_duration_seconds{QUEUE})", "")
                .value("for")
                .runbook("ZcrxQueueStarving"),
            Panel::table("2. Why", SHARE, "Causes with the share of the problem that each explains. docs/causes.md has signature and remedy; `zcrxd diagnose` on the host prints the evidence.")
                .ask("sort_desc(zcrx_queue_cause_contribution_ratio{QUEUE})", "")
                .value("explains"),
            Panel::table("3. Owner", STATE, "Process that owns the queue with a problem (the oldest, if several do).")
                .ask(with_problem!("zcrx_queue_info{QUEUE}"), "")
                .hide(&["Value", "ifindex", "zcrx_id", "page_pool"]),
            Panel::table("4. What to do", COUNT, "Alerts that fire; the name links to its page of the runbook.")
                .ask("sort_desc(ALERTS{HOST,interface=~\"$interface|\",queue=~\"$queue|\",alertname=~\"Zcrx.+\",alertstate=\"firing\"})", "")
                .hide(&["alertstate", "Value", "state"]),
        ],
    }
}

fn evidence() -> Row {
    Row {
        title: "Evidence: where the buffers are, and what fails",
        panels: vec![
            Panel::bars("With user space", SHARE, "Share of the area with user space: held, in unread completions, or in the refill ring. High here with a low refill ring: the application is slow or leaks (slow_consumer, never_returned). Only queues with a problem.")
                .ask(with_problem!("zcrx_queue_user_buffers{QUEUE} / zcrx_queue_area_buffers{QUEUE}"), "{{instance}} {{interface}}:{{queue}}")
                .at_most(1.0)
                .from(0.5, ORANGE),
            Panel::bars("In the kernel", SHARE, "Share of the area posted to the NIC, in the pool's cache or in sockets. High here with unread data in the sockets: no receive is armed (unread_socket_data); without: the area is small for its NIC (area_too_small). Only queues with a problem.")
                .ask(with_problem!("zcrx_queue_kernel_buffers{QUEUE} / zcrx_queue_area_buffers{QUEUE}"), "{{instance}} {{interface}}:{{queue}}")
                .at_most(1.0)
                .from(0.5, ORANGE),
            Panel::bars("Refill ring", SHARE, "How full the refill ring is. Full: returned buffers do not fit (refill_ring_full). Not empty while allocations fail: fragments (fragment_pinning), or the kernel does not consume it (lazy_consumption, no_device). Only queues with a problem.")
                .ask(with_problem!("zcrx_queue_refill_ring_pending_entries{QUEUE} / zcrx_queue_refill_ring_capacity_entries{QUEUE}"), "{{instance}} {{interface}}:{{queue}}")
                .at_most(1.0)
                .from(0.9, ORANGE),
            Panel::bars("Unread completions", SHARE, "How full the completion queue is. Full: the application does not reap (slow_consumer, cq_exhaustion). Only queues with a problem.")
                .ask(with_problem!("zcrx_queue_cq_unread_entries{QUEUE} / zcrx_queue_cq_capacity_entries{QUEUE}"), "{{instance}} {{interface}}:{{queue}}")
                .at_most(1.0)
                .from(0.5, ORANGE),
            Panel::lines("Failed allocations", RATE, "Allocations that yielded nothing. A line that does not come back to zero is a starvation.")
                .ask("rate(zcrx_queue_allocation_failures_total{QUEUE}[$__rate_interval]) > 0", "{{instance}} {{interface}}:{{queue}}")
                .runbook("ZcrxQueueDroppingPackets"),
            Panel::lines("Receives that end with an error", RATE, "ENOMEM: no buffer to copy into (copy_fallback). ENOSPC: no room for completions (cq_exhaustion). EFAULT: payload in another queue's buffers (missteered_flow).")
                .ask("(rate(zcrx_queue_receive_errors_total{QUEUE}[$__rate_interval]) or rate(zcrxd_receiver_receive_errors_total{QUEUE}[$__rate_interval])) > 0", "{{instance}} {{interface}}:{{queue}} {{errno}}")
                .runbook("ZcrxQueueCopyLivelock"),
        ],
    }
}

fn forecast() -> Row {
    Row {
        title: "Forecast",
        panels: vec![
            Panel::bars("Time to starvation", SECONDS, "When queues starve if things go on as they do, those that do within the hour, soonest first.")
                .ask("bottomk(10, zcrx_queue_time_to_starvation_seconds{QUEUE} < 3600)", "{{instance}} {{interface}}:{{queue}}")
                .from(0.0, RED)
                .from(60.0, ORANGE)
                .from(600.0, GREEN)
                .runbook("ZcrxQueueStarvationForecast"),
            Panel::bars("Headroom", SHARE, "Allocatable buffers as a share of the area: the queues with the smallest share.")
                .ask("bottomk(10, zcrx_queue_headroom_ratio{QUEUE})", "{{instance}} {{interface}}:{{queue}}")
                .from(0.0, RED)
                .from(0.05, ORANGE)
                .from(0.2, GREEN)
                .at_most(1.0),
            Panel::bars("Area too small by", SHARE, "What an area for this load would have more than this one has: 1 means twice as many buffers. The queues that lack most.")
                .ask("topk(10, zcrx_queue_recommended_area_buffers{QUEUE} / (zcrx_queue_area_buffers{QUEUE} or zcrxd_receiver_area_buffers{QUEUE}) - 1 > 0)", "{{instance}} {{interface}}:{{queue}}")
                .from(0.0, GREEN)
                .from(0.5, ORANGE)
                .from(2.0, RED),
        ],
    }
}

fn history() -> Row {
    Row {
        title: "What was",
        panels: vec![
            Panel::stack("Episodes that ended", COUNT, "Ended episodes by their most likely cause. Current problems are not included.")
                .ask("sum by (cause) (increase(zcrx_queue_episodes_total{QUEUE}[$__rate_interval]))", "{{cause}}")
                .runbook("ZcrxQueueStarvesRepeatedly"),
            Panel::lines("Time in episodes", SHARE, "Share of the time that a queue was in an episode, including the current one.")
                .ask("topk(10, rate(zcrx_queue_episode_seconds_total{QUEUE}[$__rate_interval]) > 0)", "{{instance}} {{interface}}:{{queue}}"),
            Panel::table("Queues with most episodes", COUNT, "Episodes in the time that the dashboard shows.")
                .ask("topk(20, sum by (job, instance, interface, queue, cause) (increase(zcrx_queue_episodes_total{QUEUE}[$__range])) > 0)", "")
                .value("episodes")
                .wide(8),
            Panel::states("With a problem", STATE, "When a queue had a problem.")
                .ask("zcrx_queue_episode_active{QUEUE} == 1", "{{instance}} {{interface}}:{{queue}}")
                .from(1.0, RED)
                .wide(24),
        ],
    }
}
