//! One queue, or a few: where its buffers are, what it carries, and what goes wrong, as the kernel sees it and, for
//! zcrxd's queues, as the application does.

/// What a queue is called in a legend.
macro_rules! queue {
    ($what:literal) => {
        concat!("{{interface}}:{{queue}} ", $what)
    };
}

mod kernel;
mod own;

use super::panel::{BYTE_RATE, BYTES, COUNT, GREEN, ORANGE, Panel, RATE, RED, SECONDS, SHARE, STATE};
use super::{Dashboard, Row};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "queue",
        title: "zcrx / Queue",
        description: "The buffer life cycle of single queues, the kernel's view against the application's. Choose one or a few.",
        of_queues: true,
        one_host: true,
        open_rows: 2,
        from: "1h",
        rows: vec![
            overview(),
            buffers(),
            returns(),
            utilization(),
            saturation(),
            errors(),
            own::times(),
            own::rings(),
            own::slow_sinks(),
            kernel::delivery(),
            kernel::pools(),
        ],
    }
}

fn overview() -> Row {
    Row {
        title: "What it is, and how it is",
        panels: vec![
            Panel::states("Problems", STATE, "Problems of the queue over time. Empty while it has none.")
                .ask("zcrx_queue_alarm{QUEUE}", queue!("{{alarm}}"))
                .from(1.0, RED)
                .runbook("ZcrxQueueStarving"),
            Panel::states("State of zcrxd's queue", STATE, "State of the queue on which zcrxd receives: 1 running (green), 2 degraded (orange), 3 failed (red), 0 stopped.")
                .ask("zcrxd_receiver_state{QUEUE,state=\"running\"} + ignoring(state) 2 * zcrxd_receiver_state{QUEUE,state=\"degraded\"} + ignoring(state) 3 * zcrxd_receiver_state{QUEUE,state=\"failed\"}", queue!(""))
                .from(1.0, GREEN)
                .from(2.0, ORANGE)
                .from(3.0, RED)
                .runbook("ZcrxReceiveQueueFailed"),
            Panel::table("Owners", STATE, "The process that has the queue (the oldest, if several do), and the kernel's names for it.")
                .ask("zcrx_queue_info{QUEUE}", "")
                .hide(&["Value"]),
            Panel::table("Processes that hold it", COUNT, "How many processes hold the queue or its ring. More than one keeps a queue alive that its owner has closed.")
                .ask("zcrx_queue_owners{QUEUE}", "")
                .value("processes"),
            Panel::table("zcrxd's queues", STATE, "Backend and sink of zcrxd's queues.")
                .ask("zcrxd_receiver_info{QUEUE}", "")
                .hide(&["Value"]),
            Panel::table("Refused backends", STATE, "Better backends that were tried and refused, with the errno if it was the kernel that refused.")
                .ask("zcrxd_receiver_backend_refused_info{QUEUE}", "")
                .hide(&["Value"])
                .runbook("ZcrxReceiveDegraded"),
            Panel::table("Features of zcrx", COUNT, "Features that this kernel supports (1) or lacks (0) for zcrxd's queue.")
                .ask("sort(zcrxd_receiver_feature{QUEUE})", "")
                .value("offered")
                .wide(8),
            Panel::table("Features done without", STATE, "Features that the configuration asks for and the queue does without; the log says why.")
                .ask("zcrxd_receiver_feature_fallback_info{QUEUE}", "")
                .hide(&["Value"])
                .wide(8)
                .runbook("ZcrxReceiveDegraded"),
            Panel::lines("Lives of the queue", COUNT, "Which life of the queue this is: a step up is a new registration or a new page pool.")
                .ask("zcrx_queue_generation{QUEUE}", queue!("")),
        ],
    }
}

fn buffers() -> Row {
    Row {
        title: "Where the buffers are",
        panels: vec![
            Panel::stack("Buffers, as the kernel counts", COUNT, "Every buffer of the area: on the freelist, with user space (held, in unread completions or in the refill ring), or in the kernel (posted to the NIC, in the pool's cache, in sockets).")
                .ask("zcrx_queue_free_buffers{QUEUE}", queue!("free"))
                .ask("zcrx_queue_kernel_buffers{QUEUE}", queue!("kernel"))
                .ask("zcrx_queue_user_buffers{QUEUE}", queue!("user"))
                .wide(12),
            Panel::lines("Kernel against user", COUNT, "What user space has, by the kernel's count of references and by zcrxd's own count of what it holds, has not read and has put into the refill ring. The two belong together; a gap that stays is a bug of one of them.")
                .ask("zcrx_queue_user_references{QUEUE}", queue!("references (kernel)"))
                .ask("zcrxd_receiver_held_buffers{QUEUE} + zcrxd_receiver_cq_unread_entries{QUEUE} + zcrxd_receiver_refill_ring_pending_entries{QUEUE}", queue!("held, unread and returned (user)"))
                .wide(12),
        ],
    }
}

fn returns() -> Row {
    Row {
        title: "Rings and returns",
        panels: vec![
            Panel::lines("Held by zcrxd's queues", COUNT, "Buffers that were delivered and neither returned nor reclaimed, and the stashed part, for which the refill ring had no room.")
                .ask("zcrxd_receiver_held_buffers{QUEUE}", queue!("held"))
                .ask("zcrxd_receiver_stashed_buffers{QUEUE}", queue!("stashed"))
                .ask("zcrxd_receiver_area_buffers{QUEUE}", queue!("area")),
            Panel::lines("Refill ring", COUNT, "Entries that the kernel has not consumed yet, against the room there is, by the kernel's figures and by the application's. A ring that is full makes returned buffers wait.")
                .ask("zcrx_queue_refill_ring_pending_entries{QUEUE}", queue!("pending (kernel)"))
                .ask("zcrx_queue_refill_ring_capacity_entries{QUEUE}", queue!("capacity (kernel)"))
                .ask("zcrxd_receiver_refill_ring_pending_entries{QUEUE}", queue!("pending (user)"))
                .ask("zcrxd_receiver_refill_ring_capacity_entries{QUEUE}", queue!("capacity (user)"))
                .runbook("ZcrxQueueRefillOverflow"),
            Panel::lines("Completion queue", COUNT, "Unread completions, and the capacity of the completion queue.")
                .ask("zcrx_queue_cq_unread_entries{QUEUE}", queue!("unread (kernel)"))
                .ask("zcrx_queue_cq_capacity_entries{QUEUE}", queue!("capacity (kernel)"))
                .ask("zcrxd_receiver_cq_unread_entries{QUEUE}", queue!("unread (user)"))
                .ask("zcrxd_receiver_cq_capacity_entries{QUEUE}", queue!("capacity (user)"))
                .runbook("ZcrxQueueCqExhausted"),
            Panel::lines("Buffers returned", RATE, "Buffers delivered to the application and returned by it. Delivered buffers must be returned; reclaimed buffers were still held when their queue ended.")
                .ask("rate(zcrxd_receiver_delivered_buffers_total{QUEUE}[$__rate_interval])", queue!("delivered"))
                .ask("rate(zcrxd_receiver_returned_buffers_total{QUEUE}[$__rate_interval])", queue!("returned"))
                .ask("rate(zcrxd_receiver_reclaimed_buffers_total{QUEUE}[$__rate_interval])", queue!("reclaimed")),
            Panel::lines("Buffers that nothing accounts for", COUNT, "Those that the copy fallback gave to user space, and the error of a snapshot under traffic. Lasting growth without copies is a kernel bug.")
                .ask("zcrx_queue_unaccounted_buffers{QUEUE}", queue!("")),
            Panel::lines("Unread in sockets", BYTES, "Payload in the receiving sockets that no receive has taken, against the sum of their limits. Zero-copy payload keeps its buffers there.")
                .ask("zcrx_queue_socket_unread_bytes{QUEUE}", queue!("unread"))
                .ask("zcrx_queue_socket_limit_bytes{QUEUE}", queue!("limit")),
        ],
    }
}

fn utilization() -> Row {
    Row {
        title: "Utilization",
        panels: vec![
            Panel::lines("Payload", BYTE_RATE, "Payload that zcrxd's queue received, and the part that was copied into the area.")
                .ask("rate(zcrxd_receiver_received_bytes_total{QUEUE}[$__rate_interval])", queue!("received"))
                .ask("rate(zcrxd_receiver_copied_bytes_total{QUEUE}[$__rate_interval])", queue!("copied"))
                .ask("rate(zcrxd_receiver_kernel_copied_bytes_total{QUEUE}[$__rate_interval])", queue!("copied, by the kernel's count"))
                .runbook("ZcrxReceiveCopying"),
            Panel::lines("Completions", RATE, "Completions that carried data.")
                .ask("rate(zcrxd_receiver_completions_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Buffers allocated", RATE, "Buffers the kernel took, from the refill ring and from the freelist. In a steady state nearly all come from the ring.")
                .ask("rate(zcrx_queue_allocated_buffers_total{QUEUE}[$__rate_interval])", queue!("all"))
                .ask("rate(zcrx_queue_freelist_buffers_total{QUEUE}[$__rate_interval])", queue!("from the freelist")),
            Panel::lines("Connections", COUNT, "Open connections of zcrxd's queue, and sockets that receive from the queue in the kernel.")
                .ask("zcrxd_receiver_connections{QUEUE}", queue!("open (user)"))
                .ask("zcrx_queue_sockets{QUEUE}", queue!("sockets (kernel)")),
            Panel::lines("New connections", RATE, "Connections that zcrxd's queue accepted.")
                .ask("rate(zcrxd_receiver_accepted_connections_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Areas", COUNT, "Areas of the queue and the buffers in all of them. More than one area needs Linux 7.3.")
                .ask("zcrx_queue_areas{QUEUE}", queue!("areas (kernel)"))
                .ask("zcrxd_receiver_areas{QUEUE}", queue!("areas (user)"))
                .ask("zcrx_queue_area_buffers{QUEUE}", queue!("buffers")),
            Panel::lines("Areas added", RATE, "Areas added because buffers ran short, and those that were refused, by the limit of locked memory for example.")
                .ask("rate(zcrxd_receiver_added_areas_total{QUEUE}[$__rate_interval])", queue!("added"))
                .ask("rate(zcrxd_receiver_refused_areas_total{QUEUE}[$__rate_interval])", queue!("refused")),
            Panel::lines("Memory", BYTES, "Area of zcrxd's queue, and the recommended area for this load.")
                .ask("zcrxd_receiver_area_bytes{QUEUE}", queue!("area"))
                .ask("zcrxd_receiver_area_limit_bytes{QUEUE}", queue!("limit of growth"))
                .ask("zcrx_queue_recommended_area_bytes{QUEUE}", queue!("recommended")),
            Panel::lines("Size of a buffer", BYTES, "The size of one buffer (niov) of zcrxd's queue.")
                .ask("zcrxd_receiver_buffer_bytes{QUEUE}", queue!("")),
        ],
    }
}

fn saturation() -> Row {
    Row {
        title: "Saturation",
        panels: vec![
            Panel::lines("Headroom", SHARE, "Allocatable buffers as a share of the area.")
                .ask("zcrx_queue_headroom_ratio{QUEUE}", queue!(""))
                .at_most(1.0),
            Panel::lines("Time to starvation", SECONDS, "When the queue starves if things go on as they do. Not drawn while it does not starve at this rate.")
                .ask("zcrx_queue_time_to_starvation_seconds{QUEUE} < Inf", queue!(""))
                .runbook("ZcrxQueueStarvationForecast"),
            Panel::lines("Allocations", RATE, "Calls of the kernel's provider and of them those that yielded nothing. A few failures are harmless; what counts is how long they go on.")
                .ask("rate(zcrx_queue_allocations_total{QUEUE}[$__rate_interval])", queue!("calls"))
                .ask("rate(zcrx_queue_allocation_failures_total{QUEUE}[$__rate_interval])", queue!("failed"))
                .runbook("ZcrxQueueDroppingPackets"),
            Panel::lines("Starvations", RATE, "Times that allocations began to yield nothing, however short, in the kernel and in the software interface queue.")
                .ask("rate(zcrx_queue_starvations_total{QUEUE}[$__rate_interval])", queue!("kernel"))
                .ask("rate(zcrxd_receiver_starvations_total{QUEUE}[$__rate_interval])", queue!("software queue")),
            Panel::lines("Time starved", SHARE, "Share of the time in which allocations yielded nothing.")
                .ask("rate(zcrx_queue_starved_seconds_total{QUEUE}[$__rate_interval])", queue!(""))
                .at_most(1.0),
            Panel::states("Starving", STATE, "When the queue was starved (red), in the kernel and in the software interface queue.")
                .ask("zcrx_queue_starving{QUEUE}", queue!("kernel"))
                .ask("zcrxd_receiver_starving{QUEUE}", queue!("software queue"))
                .from(1.0, RED)
                .wide(8)
                .runbook("ZcrxQueueStarving"),
            Panel::lines("Starving now", SECONDS, "How long the present starvation has lasted; 0 while the queue is not starved.")
                .ask("zcrx_queue_starving_seconds{QUEUE}", queue!(""))
                .runbook("ZcrxQueueStarving"),
            Panel::lines("Area against need", COUNT, "Buffers in the area and those that an area for this load would have.")
                .ask("zcrx_queue_area_buffers{QUEUE} or zcrxd_receiver_area_buffers{QUEUE}", queue!("area"))
                .ask("zcrx_queue_recommended_area_buffers{QUEUE}", queue!("recommended")),
            Panel::lines("Refill ring against need", COUNT, "Entries of the refill ring and those that a ring for this load would have.")
                .ask("zcrx_queue_refill_ring_capacity_entries{QUEUE} or zcrxd_receiver_refill_ring_capacity_entries{QUEUE}", queue!("ring"))
                .ask("zcrx_queue_recommended_refill_entries{QUEUE}", queue!("recommended")),
        ],
    }
}

fn errors() -> Row {
    Row {
        title: "Errors",
        panels: vec![
            Panel::lines("Receive errors", RATE, "Receives of zcrxd's queue that ended with an error: ENOMEM no buffer to copy into, ENOSPC no room for completions, EFAULT data in another queue's buffers.")
                .ask("rate(zcrxd_receiver_receive_errors_total{QUEUE}[$__rate_interval])", queue!("{{errno}}"))
                .runbook("ZcrxQueueMissteered"),
            Panel::lines("Accept and sink errors", RATE, "Connections that zcrxd's queue could not accept, and connections that ended because the sink failed: a full disk, a missing destination. Connect retries come first.")
                .ask("rate(zcrxd_receiver_accept_errors_total{QUEUE}[$__rate_interval])", queue!("accept {{errno}}"))
                .ask("rate(zcrxd_receiver_sink_errors_total{QUEUE}[$__rate_interval])", queue!("sink {{errno}}"))
                .ask("rate(zcrxd_receiver_sink_connect_retries_total{QUEUE}[$__rate_interval])", queue!("connects tried again"))
                .runbook("ZcrxReceiveSinkFails"),
            Panel::lines("Completions without room", RATE, "Completions that the completion queue had no room for.")
                .ask("rate(zcrx_queue_cq_overflows_total{QUEUE}[$__rate_interval])", queue!("kernel"))
                .ask("rate(zcrxd_receiver_cq_overflows_total{QUEUE}[$__rate_interval])", queue!("user"))
                .runbook("ZcrxQueueCqExhausted"),
            Panel::lines("Refill entries without a buffer", RATE, "Refill entries that the kernel consumed, and buffers that they returned. A lasting gap is wasted entries: returned twice, wrong offset, or fragments of a buffer that is not free yet.")
                .ask("rate(zcrx_queue_consumed_refill_entries_total{QUEUE}[$__rate_interval])", queue!("entries"))
                .ask("rate(zcrx_queue_allocated_buffers_total{QUEUE}[$__rate_interval]) - rate(zcrx_queue_freelist_buffers_total{QUEUE}[$__rate_interval])", queue!("buffers of them")),
            Panel::lines("Events of the kernel", RATE, "Events that the kernel posts to zcrxd's queue: failed allocations, copies. Each event is posted once until it is armed again, so the real numbers are larger.")
                .ask("rate(zcrxd_receiver_notifications_total{QUEUE}[$__rate_interval])", queue!("{{notification}}")),
            Panel::lines("Fragments copied by the kernel", RATE, "Fragments of payload that the kernel copied, by its own count; their bytes are in Payload.")
                .ask("rate(zcrxd_receiver_kernel_copied_fragments_total{QUEUE}[$__rate_interval])", queue!(""))
                .runbook("ZcrxReceiveCopying"),
            Panel::lines("Receives armed again", RATE, "Multishot receives that ended and were armed again.")
                .ask("rate(zcrxd_receiver_rearms_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Registered again", COUNT, "Times that zcrxd's queue failed and was registered again, in the shown time range.")
                .ask("increase(zcrxd_receiver_registrations_total{QUEUE}[$__range])", queue!(""))
                .runbook("ZcrxReceiveQueueFailed"),
            Panel::lines("Connections given up", RATE, "Connections ended because payload had to be copied and there was no buffer for too long.")
                .ask("rate(zcrxd_receiver_given_up_connections_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Threads", COUNT, "Threads that receive on zcrxd's queue, where it has several. Fewer than configured: a thread could not join.")
                .ask("zcrxd_receiver_workers{QUEUE}", queue!("")),
            Panel::lines("Completions by thread", RATE, "Completions with data, by the thread whose ring they came on. Connections are dealt out in turn: a thread with none has none.")
                .ask("rate(zcrxd_receiver_worker_completions_total{QUEUE}[$__rate_interval])", queue!("thread {{worker}}")),
            Panel::lines("Verified payload", BYTE_RATE, "With the sink verify: payload compared with the test pattern, and what of it was wrong.")
                .ask("rate(zcrxd_receiver_verified_bytes_total{QUEUE}[$__rate_interval])", queue!("verified"))
                .ask("rate(zcrxd_receiver_mismatched_bytes_total{QUEUE}[$__rate_interval])", queue!("wrong"))
                .runbook("ZcrxReceiveDataMismatched"),
        ],
    }
}
