//! zcrxd's receive queues in detail, as only their application knows them.

use crate::dashboard::Row;
use crate::dashboard::panel::{BYTE_RATE, BYTES, COUNT, Panel, RATE, SECONDS};

/// How a histogram is spread: its middle, and what only one of a hundred is above.
pub(super) fn spread(
    title: &'static str,
    unit: &'static str,
    description: &'static str,
    metric: &str,
) -> Panel {
    let quantile = |share: &str| {
        format!(
            "histogram_quantile({share}, sum by (job, instance, interface, queue, le) \
             (rate({metric}_bucket{{QUEUE}}[$__rate_interval])))"
        )
    };
    Panel::lines(title, unit, description)
        .ask(&quantile("0.5"), queue!("p50"))
        .ask(&quantile("0.99"), queue!("p99"))
}

pub(super) fn times() -> Row {
    Row {
        title: "How long buffers are held",
        panels: vec![
            Panel::lines("Hold time", SECONDS, "How long user space has a buffer, on average, by rates and counts (Little's law). Of any process.")
                .ask("zcrx_queue_mean_hold_seconds{QUEUE}", queue!("")),
            spread("Hold time, measured", SECONDS, "How long buffers of zcrxd's queue were held, from the batch that reaped their completion until their return: median and 99th percentile.", "zcrxd_receiver_hold_seconds")
                .runbook("ZcrxQueueStarving"),
            Panel::lines("Held longest", SECONDS, "How long the buffer that is held longest has been held. A line that rises as fast as time goes is a buffer that does not come back.")
                .ask("zcrxd_receiver_oldest_held_buffer_seconds{QUEUE}", queue!(""))
                .runbook("ZcrxQueueLeaking"),
            Panel::lines("Since the last allocation", SECONDS, "Time since an allocation last yielded a buffer. It grows on an idle queue too.")
                .ask("time() - zcrx_queue_last_allocation_timestamp_seconds{QUEUE}", queue!(""))
                .runbook("ZcrxQueueStalled"),
            Panel::table("Busy polling", SECONDS, "Time for which a wait of zcrxd's queue polls the NIC before it sleeps: lower latency, more CPU time. No line: no polling.")
                .ask("zcrxd_receiver_napi_busy_poll_seconds{QUEUE}", "")
                .value("polls for")
                .wide(8),
            Panel::table("Shortest wait", SECONDS, "Time for which a wait of zcrxd's queue gathers completions: fewer system calls, later completions. No line: the first completion ends each wait.")
                .ask("zcrxd_receiver_min_wait_seconds{QUEUE}", "")
                .value("waits for")
                .wide(8),
        ],
    }
}

pub(super) fn rings() -> Row {
    Row {
        title: "Rings, from batch to batch",
        panels: vec![
            spread("Completions found waiting", COUNT, "Completions of zcrxd's queue reaped per batch. Larger batches cost less and add latency.", "zcrxd_receiver_reap_batch_completions")
                .runbook("ZcrxQueueCqExhausted"),
            spread("Entries published at once", COUNT, "Refill entries that were published at once. More at once costs less.", "zcrxd_receiver_publish_batch_entries"),
            spread("Refill ring after publishing", COUNT, "Unconsumed refill entries directly after publishing. Near the capacity of the ring, buffers are stashed.", "zcrxd_receiver_refill_ring_fill_entries")
                .runbook("ZcrxQueueRefillOverflow"),
            Panel::lines("Refill ring full, and flushed", RATE, "Times that entries had to be stashed because the refill ring was full, and requests to the kernel to consume it.")
                .ask("rate(zcrxd_receiver_refill_ring_full_total{QUEUE}[$__rate_interval])", queue!("full"))
                .ask("rate(zcrxd_receiver_refill_flushes_total{QUEUE}[$__rate_interval])", queue!("flushed"))
                .runbook("ZcrxQueueRefillOverflow"),
            Panel::lines("Receives tried again", RATE, "Receives that ended without a buffer and were armed again.")
                .ask("rate(zcrxd_receiver_receive_retries_total{QUEUE}[$__rate_interval])", queue!(""))
                .runbook("ZcrxQueueCopyLivelock"),
            Panel::lines("Unreported ends", RATE, "Connections that ended, mostly by a reset, without a completion; zcrxd armed their receives again. Above 0 the kernel loses ends.")
                .ask("rate(zcrxd_receiver_unreported_connection_ends_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Connections on another queue", RATE, "Connections that arrive on a foreign hardware queue (copied, or not received), and connections moved to the thread of the local queue on which they arrive.")
                .ask("rate(zcrxd_receiver_misplaced_connections_total{QUEUE}[$__rate_interval])", queue!("misplaced"))
                .ask("rate(zcrxd_receiver_handed_over_connections_total{QUEUE}[$__rate_interval])", queue!("handed over"))
                .runbook("ZcrxQueueMissteered"),
        ],
    }
}

pub(super) fn slow_sinks() -> Row {
    Row {
        title: "Back-pressure of slow sinks",
        panels: vec![
            Panel::lines("Held by sinks", COUNT, "Buffers that sinks hold because they have not done with their data yet, and how many they may hold together before data is copied out. No limit: they may hold the whole area.")
                .ask("zcrxd_receiver_sink_held_buffers{QUEUE}", queue!("held"))
                .ask("zcrxd_receiver_sink_hold_limit_buffers{QUEUE}", queue!("limit")),
            Panel::lines("Copied out", BYTE_RATE, "Payload copied out of the area to ordinary memory because of a slow sink.")
                .ask("rate(zcrxd_receiver_copied_out_bytes_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Forwarded without a copy", BYTE_RATE, "Payload that forward sinks sent from the area without a copy (forward_zero_copy).")
                .ask("rate(zcrxd_receiver_forwarded_zero_copy_bytes_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Copied by the kernel nevertheless", RATE, "Sends without a copy whose payload the kernel copied: the destination is on this host, or its NIC sends no separate pieces.")
                .ask("rate(zcrxd_receiver_forwarded_zero_copy_copied_sends_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Memory of what was copied out", BYTES, "Memory in use by payload that was copied out, and the most that may be.")
                .ask("zcrxd_receiver_copy_out_memory_bytes{QUEUE}", queue!("in use"))
                .ask("zcrxd_receiver_copy_out_memory_limit_bytes{QUEUE}", queue!("limit")),
            Panel::lines("Limits reached", RATE, "Times that a connection reached its share of the held buffers, and times that one was not received from any more until its slow sink had caught up.")
                .ask("rate(zcrxd_receiver_sink_hold_limit_reached_total{QUEUE}[$__rate_interval])", queue!("share reached"))
                .ask("rate(zcrxd_receiver_connection_pauses_total{QUEUE}[$__rate_interval])", queue!("paused")),
            Panel::lines("Connections paused", COUNT, "Connections that are not received from now, until their slow sink has caught up: their senders wait.")
                .ask("zcrxd_receiver_paused_connections{QUEUE}", queue!("")),
            Panel::lines("Bytes lost", BYTE_RATE, "Payload that was acknowledged to senders and did not reach the sink's destination, or was not confirmed by it.")
                .ask("rate(zcrxd_receiver_lost_bytes_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Connections and their limit", COUNT, "Connections of a device queue, and the most that its area's budget for sockets allows. More are refused.")
                .ask("zcrxd_receiver_connections{QUEUE}", queue!("open"))
                .ask("zcrxd_receiver_connection_limit{QUEUE}", queue!("limit")),
            Panel::lines("Connections refused", RATE, "Connections closed at once because a device queue already had the most that its area's budget for sockets allows.")
                .ask("rate(zcrxd_receiver_refused_connections_total{QUEUE}[$__rate_interval])", queue!("")),
            Panel::lines("Receive buffer of a socket", BYTES, "What the socket of each connection of a device queue may hold: its share of half of the area.")
                .ask("zcrxd_receiver_socket_buffer_bytes{QUEUE}", queue!("")),
        ],
    }
}
