//! Kernel events of a queue of any process.

use super::own::spread;
use crate::dashboard::Row;
use crate::dashboard::panel::{BYTE_RATE, COUNT, Panel, RATE, SECONDS, STATE};

pub(super) fn delivery() -> Row {
    Row {
        title: "Delivery, copies and control, in the kernel",
        panels: vec![
            Panel::lines("Receive calls", RATE, "Receive calls on connections of the queue, for any owner, and the calls that found no data.")
                .ask("rate(zcrx_queue_receives_total{QUEUE}[$__rate_interval])", queue!("all"))
                .ask("rate(zcrx_queue_empty_receives_total{QUEUE}[$__rate_interval])", queue!("empty")),
            Panel::lines("Receive errors in the kernel", RATE, "Receives that ended with an error, by errno.")
                .ask("rate(zcrx_queue_receive_errors_total{QUEUE}[$__rate_interval])", queue!("{{errno}}"))
                .runbook("ZcrxQueueCopyLivelock"),
            Panel::lines("Payload delivered and copied", BYTE_RATE, "Payload delivered to the owner, and payload copied by the copy fallback.")
                .ask("rate(zcrx_queue_received_bytes_total{QUEUE}[$__rate_interval])", queue!("delivered"))
                .ask("rate(zcrx_queue_copied_bytes_total{QUEUE}[$__rate_interval])", queue!("copied"))
                .runbook("ZcrxReceiveCopying"),
            Panel::lines("Copies", RATE, "Calls of the copy fallback, those that copied nothing, and buffers that copies filled.")
                .ask("rate(zcrx_queue_copies_total{QUEUE}[$__rate_interval])", queue!("calls"))
                .ask("rate(zcrx_queue_copy_failures_total{QUEUE}[$__rate_interval])", queue!("failed"))
                .ask("rate(zcrx_queue_copied_buffers_total{QUEUE}[$__rate_interval])", queue!("buffers"))
                .runbook("ZcrxQueueCopyLivelock"),
            Panel::lines("Control calls", RATE, "Control calls by operation and errno, and refill entries that flushes consumed.")
                .ask("rate(zcrx_queue_control_calls_total{QUEUE}[$__rate_interval])", queue!("{{operation}} {{errno}}"))
                .ask("rate(zcrx_queue_flushed_refill_entries_total{QUEUE}[$__rate_interval])", queue!("entries flushed")),
            Panel::lines("Notifications", RATE, "Notifications that the kernel had to give, and those that it sent.")
                .ask("rate(zcrx_queue_raised_notifications_total{QUEUE}[$__rate_interval])", queue!("{{notification}} raised"))
                .ask("rate(zcrx_queue_sent_notifications_total{QUEUE}[$__rate_interval])", queue!("{{notification}} sent")),
            spread("Residence", SECONDS, "How long sampled buffers were out until the kernel had them back: half of them less, and 99 of 100. Only with probes.residence.", "zcrx_queue_residence_seconds"),
            Panel::lines("Sampled buffers", RATE, "Buffers sampled for residence, those that came back unseen, and those for which there was no room. Only with probes.residence.")
                .ask("rate(zcrx_queue_residence_sampled_buffers_total{QUEUE}[$__rate_interval])", queue!("sampled"))
                .ask("rate(zcrx_queue_residence_unseen_buffers_total{QUEUE}[$__rate_interval])", queue!("unseen"))
                .ask("rate(zcrx_queue_residence_lost_buffers_total{QUEUE}[$__rate_interval])", queue!("lost")),
            Panel::lines("Since the last receive", SECONDS, "Time since a call last received something. It grows on an idle queue too.")
                .ask("time() - zcrx_queue_last_receive_timestamp_seconds{QUEUE}", queue!("")),
        ],
    }
}

pub(super) fn pools() -> Row {
    Row {
        title: "Page pools",
        panels: vec![
            Panel::lines("In flight", COUNT, "Buffers that the page pool is responsible for, and of them those in its allocation cache. It saturates in healthy operation.")
                .ask("zcrx_queue_pool_inflight_buffers{QUEUE}", queue!("in flight"))
                .ask("zcrx_queue_pool_cache_buffers{QUEUE}", queue!("cached")),
            Panel::lines("Taken in and given up", RATE, "Pages or niovs that page pools of this interface took in and gave up; recycling through a refill ring does not count.")
                .ask("rate(zcrx_page_pool_holds_total{HOST,interface=~\"$interface\"}[$__rate_interval])", "{{instance}} {{interface}} pool {{page_pool}} in")
                .ask("rate(zcrx_page_pool_releases_total{HOST,interface=~\"$interface\"}[$__rate_interval])", "{{instance}} {{interface}} pool {{page_pool}} out"),
            Panel::table("Page pools", STATE, "Page pools of this interface that were active, and whether a memory provider feeds them.")
                .ask("zcrx_page_pool_info{HOST,interface=~\"$interface\"}", "")
                .hide(&["Value"])
                .wide(8)
                .runbook("ZcrxQueuePinned"),
        ],
    }
}
