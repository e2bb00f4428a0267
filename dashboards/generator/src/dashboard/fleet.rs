//! Which hosts and queues need attention.
//!
//! Reads recorded series of hosts, and of single queues only what exists while something is wrong: it stays cheap
//! with any number of queues.

use super::panel::{BYTE_RATE, COUNT, GREEN, ORANGE, Panel, RATE, RED, SECONDS, SHARE};
use super::{Dashboard, Row};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "fleet",
        title: "zcrx / Fleet",
        description: "Which hosts and queues need attention. Needs the recording rules of deploy/prometheus.",
        of_queues: false,
        one_host: false,
        open_rows: 2,
        from: "6h",
        rows: vec![attention(), utilization(), saturation(), errors(), watchers()],
    }
}

fn attention() -> Row {
    Row {
        title: "What needs attention",
        panels: vec![
            Panel::stat("Hosts", COUNT, "Hosts whose zcrxd is scraped.")
                .ask("count(zcrxd_build_info{HOST})", "hosts"),
            Panel::stat("Hosts with alarms", COUNT, "Hosts with a queue that has a problem now or had one a few seconds ago.")
                .ask("count(instance:zcrx_queue_episode_active:sum{HOST} > 0) or 0 * count(zcrxd_build_info{HOST})", "hosts")
                .from(1.0, RED),
            Panel::stat("Queues", COUNT, "Diagnosed queues: every zcrx queue of any process, and the queues of zcrxd.")
                .ask("sum(instance:zcrx_queues:count{HOST})", "queues"),
            Panel::stat("Queues with alarms", COUNT, "Queues that have a problem now or had one a few seconds ago.")
                .ask("sum(instance:zcrx_queue_episode_active:sum{HOST})", "queues")
                .from(1.0, RED),
            Panel::stat("Receivers failed, degraded", COUNT, "zcrxd's receive queues that failed and are registered again, and queues that do not use the configured backend.")
                .ask("sum(instance:zcrxd_receiver_state_failed:sum{HOST}) or 0 * count(zcrxd_build_info{HOST})", "failed")
                .ask("sum(instance:zcrxd_receiver_state_degraded:sum{HOST}) or 0 * count(zcrxd_build_info{HOST})", "degraded")
                .from(1.0, RED)
                .runbook("ZcrxReceiveQueueFailed"),
            Panel::stat("Alerts firing", COUNT, "Alerts about zcrx that fire, of any severity.")
                .ask("count(ALERTS{HOST,alertname=~\"Zcrx.+\",alertstate=\"firing\"}) or 0 * count(zcrxd_build_info{HOST})", "alerts")
                .from(1.0, ORANGE),
            Panel::table("Queues with alarms", SECONDS, "Problem of each queue and its duration. The queue links to its dashboard, the instance to the dashboard of its zcrxd.")
                .ask("sort_desc(zcrx_queue_alarm_duration_seconds{HOST})", "")
                .value("for"),
            Panel::table("Alerts", COUNT, "Alerts that fire, most urgent first. The name links to its page of the runbook.")
                .ask("sort_desc(ALERTS{HOST,alertname=~\"Zcrx.+\",alertstate=\"firing\"})", "")
                .hide(&["alertstate", "Value", "state"]),
            Panel::bars("Soonest to starve", SECONDS, "The hosts whose first queue starves soonest if things go on as they do, up to an hour from now.")
                .ask("bottomk(10, instance:zcrx_queue_time_to_starvation_seconds:min{HOST} < 3600)", "{{instance}}")
                .from(0.0, RED)
                .from(60.0, ORANGE)
                .from(600.0, GREEN)
                .wide(12)
                .runbook("ZcrxQueueStarvationForecast"),
            Panel::bars("Least headroom", SHARE, "Hosts with the queue that has the smallest share of allocatable buffers.")
                .ask("bottomk(10, instance:zcrx_queue_headroom_ratio:min{HOST})", "{{instance}}")
                .from(0.0, RED)
                .from(0.05, ORANGE)
                .from(0.2, GREEN)
                .wide(12)
                .at_most(1.0),
        ],
    }
}

fn utilization() -> Row {
    Row {
        title: "Utilization",
        panels: vec![
            Panel::lines(
                "Payload received",
                BYTE_RATE,
                "Payload received by all queues, those of other processes included (where the delivery probe is attached).",
            )
            .ask("sum by (job) (instance:zcrx_received_bytes:rate5m{HOST})", "{{job}}"),
            Panel::lines("Busiest receivers", BYTE_RATE, "The ten hosts whose zcrxd receives most.")
                .ask("topk(10, instance:zcrx_received_bytes:rate5m{HOST})", "{{instance}}"),
            Panel::lines("Queues", COUNT, "Queues that are diagnosed, by job.")
                .ask("sum by (job) (instance:zcrx_queues:count{HOST})", "{{job}}"),
        ],
    }
}

fn saturation() -> Row {
    Row {
        title: "Saturation",
        panels: vec![
            Panel::stack("Problems", COUNT, "Queues by problem. A queue with two problems counts twice.")
                .ask("sum by (alarm) (instance_alarm:zcrx_queue_alarm:sum{HOST})", "{{alarm}}")
                .runbook("ZcrxQueueStarving"),
            Panel::stack("Why", COUNT, "Causes of current problems; docs/causes.md explains each.")
                .ask("sum by (cause) (instance_cause:zcrx_queue_cause_contribution_ratio:count{HOST})", "{{cause}}"),
            Panel::lines("Queues that starve at a time", COUNT, "Time spent in starvations, per second: 2 means that at any moment two queues starve on average. Hosts with most of it.")
                .ask("topk(10, instance:zcrx_queue_starved_seconds:rate5m{HOST} > 0)", "{{instance}}"),
            Panel::lines("Failed allocations", RATE, "Allocations of the kernel's provider that yielded nothing. A few are harmless; what counts is how long they go on. Hosts with most of them.")
                .ask("topk(10, instance:zcrx_queue_allocation_failures:rate5m{HOST} > 0)", "{{instance}}"),
            Panel::stack("Episodes in the last hour", COUNT, "Episodes that ended within the hour, by their most likely cause.")
                .ask("sum by (cause) (instance_cause:zcrx_queue_episodes:increase1h{HOST}) > 0", "{{cause}}")
                .runbook("ZcrxQueueStarvesRepeatedly"),
            Panel::lines("Least headroom", SHARE, "The ten hosts with the queue that has the smallest share of allocatable buffers.")
                .ask("bottomk(10, instance:zcrx_queue_headroom_ratio:min{HOST})", "{{instance}}")
                .at_most(1.0),
        ],
    }
}

fn errors() -> Row {
    Row {
        title: "Errors",
        panels: vec![
            Panel::lines("Receive errors", RATE, "Receives of all queues that ended with an error. Hosts with most of them.")
                .ask("topk(10, instance:zcrx_receive_errors:rate5m{HOST} > 0)", "{{instance}}"),
            Panel::lines("Copied payload", SHARE, "Share of the payload that was copied instead of being placed by the NIC. Hosts with most of it.")
                .ask("topk(10, instance:zcrx_copied_bytes:rate5m{HOST} / (instance:zcrx_received_bytes:rate5m{HOST} > 0))", "{{instance}}")
                .at_most(1.0)
                .runbook("ZcrxReceiveCopying"),
            Panel::lines("Refused registrations", COUNT, "Attempts of any process to register a zcrx queue that the kernel refused, by errno.")
                .ask("sum by (errno) (increase(zcrx_registration_failures_total{HOST}[$__rate_interval]))", "{{errno}}")
                .runbook("ZcrxRegistrationsRefused"),
        ],
    }
}

fn watchers() -> Row {
    Row {
        title: "The watchers",
        panels: vec![
            Panel::lines("Scrapes that fail", COUNT, "Targets of the chosen jobs that cannot be scraped: their queues may starve unseen.")
                .ask("count by (job) (up{HOST} == 0) or 0 * count by (job) (up{HOST})", "{{job}}")
                .from(1.0, RED)
                .runbook("ZcrxdDown"),
            Panel::lines("Hosts that miss a probe", COUNT, "Hosts on which a probe of the catalogue is attached by no mechanism, and hosts whose snapshot may miss something.")
                .ask("count(instance:zcrxd_probes_missing:count{HOST} > 0) or 0 * count(zcrxd_build_info{HOST})", "probe missing")
                .ask("count(zcrxd_snapshot_incomplete_reasons{HOST} > 0) or 0 * count(zcrxd_build_info{HOST})", "snapshot incomplete")
                .runbook("ZcrxProbeMissing"),
            Panel::lines("Oldest diagnosis", SECONDS, "The hosts that have not looked at their queues for longest.")
                .ask("topk(5, time() - zcrxd_diagnosis_timestamp_seconds{HOST})", "{{instance}}")
                .from(30.0, RED)
                .runbook("ZcrxDiagnosisStale"),
            Panel::bars("Versions of zcrxd", COUNT, "Hosts by the zcrxd they run.")
                .ask("count by (version, revision) (zcrxd_build_info{HOST})", "{{version}} {{revision}}"),
            Panel::bars("Kernels", COUNT, "Hosts by the kernel they run.")
                .ask("count by (release) (zcrxd_kernel_info{HOST})", "{{release}}")
                .wide(16),
        ],
    }
}
