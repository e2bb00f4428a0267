//! Series that Prometheus records: what alerts remember, and what a view of many hosts reads instead of every series of
//! every queue.

use super::Recording;
use crate::config::{Parameters, WINDOW};

/// Receivers of a host when it was last scraped.
pub(crate) const RECEIVERS: &str = "instance:zcrxd_receivers:last";

/// What alerts remember. These rules stand in the file of the alerts, which works without the other file.
pub(crate) fn state(site: &Parameters) -> Vec<Recording> {
    vec![Recording {
        name: RECEIVERS,
        about: "Receivers of zcrxd, kept up as long as the host cannot be scraped: an outage must not end its own alert.",
        query: filled(
            site,
            "count by (%H) (zcrxd_receiver_info)\nor\n\
             (last_over_time(instance:zcrxd_receivers:last[1h]) and on (%H) up == 0)",
        ),
    }]
}

/// Every recording rule for dashboards, each after those that it reads.
pub(crate) fn recordings(site: &Parameters) -> Vec<Recording> {
    [hosts(site), kinds(site), jobs(site)].concat()
}

fn filled(site: &Parameters, query: &str) -> String {
    site.fill(query).replace("%W", WINDOW)
}

fn table(site: &Parameters, rows: &[(&'static str, &'static str, &str)]) -> Vec<Recording> {
    rows.iter().map(|&(name, about, query)| Recording { name, about, query: filled(site, query) }).collect()
}

/// Payload, copies and errors: as the kernel counts them for every queue, and as receivers count them where the kernel
/// does not (backend copy, kernels without the probe).
fn hosts(site: &Parameters) -> Vec<Recording> {
    table(
        site,
        &[
            (
                "instance:zcrx_queues:count",
                "Queues that are diagnosed: all in the kernel, and those of zcrxd's receivers.",
                "count by (%H) (zcrx_queue_episode_active)",
            ),
            (
                "instance:zcrx_queue_episode_active:sum",
                "Queues with an alarm.",
                "sum by (%H) (zcrx_queue_episode_active)",
            ),
            (
                "instance:zcrx_queue_headroom_ratio:min",
                "Headroom of the queue that has least.",
                "min by (%H) (zcrx_queue_headroom_ratio)",
            ),
            (
                "instance:zcrx_queue_time_to_starvation_seconds:min",
                "Time until the first queue starves.",
                "min by (%H) (zcrx_queue_time_to_starvation_seconds)",
            ),
            (
                "instance:zcrxd_receiver_state_failed:sum",
                "Receivers that do not receive.",
                "sum by (%H) (zcrxd_receiver_state{state=\"failed\"})",
            ),
            (
                "instance:zcrxd_receiver_state_degraded:sum",
                "Receivers that do not run on the configured backend.",
                "sum by (%H) (zcrxd_receiver_state{state=\"degraded\"})",
            ),
            (
                "instance:zcrx_received_bytes:rate5m",
                "Payload received by all queues, those of other processes included.",
                "sum by (%H) (\n  rate(zcrx_queue_received_bytes_total[%W])\n  or\n  \
             rate(zcrxd_receiver_received_bytes_total[%W])\n)",
            ),
            (
                "instance:zcrx_copied_bytes:rate5m",
                "Payload copied instead of placed by the NIC, of all queues.",
                "sum by (%H) (\n  rate(zcrx_queue_copied_bytes_total[%W])\n  or\n  \
             rate(zcrxd_receiver_copied_bytes_total[%W])\n)",
            ),
            (
                "instance:zcrx_receive_errors:rate5m",
                "Receives that ended with an error, of all queues.",
                "sum by (%H) (\n  sum without (errno) (rate(zcrx_queue_receive_errors_total[%W]))\n  or\n  \
             sum without (errno) (rate(zcrxd_receiver_receive_errors_total[%W]))\n)",
            ),
            (
                "instance:zcrx_queue_allocation_failures:rate5m",
                "Allocations that found no buffer.",
                "sum by (%H) (rate(zcrx_queue_allocation_failures_total[%W]))",
            ),
            (
                "instance:zcrx_queue_starved_seconds:rate5m",
                "Queues that were starved at a time, on average.",
                "sum by (%H) (rate(zcrx_queue_starved_seconds_total[%W]))",
            ),
            (
                "instance:zcrxd_probes_missing:count",
                "Probes that this host refused or that failed; those that its kernel does not have are not counted.",
                "count by (%H) (zcrxd_probe_info{state=~\"refused|failed\"})",
            ),
        ],
    )
}

/// Hosts, by alarm and by cause.
fn kinds(site: &Parameters) -> Vec<Recording> {
    table(
        site,
        &[
            (
                "instance_alarm:zcrx_queue_alarm:sum",
                "Queues by alarm.",
                "sum by (%H, alarm) (zcrx_queue_alarm)",
            ),
            (
                "instance_cause:zcrx_queue_cause_contribution_ratio:count",
                "Queues with an alarm by each cause that was found.",
                "count by (%H, cause) (zcrx_queue_cause_contribution_ratio)",
            ),
            (
                "instance_cause:zcrx_queue_episodes:increase1h",
                "Episodes that ended within the hour, by their most likely cause.",
                "sum by (%H, cause) (increase(zcrx_queue_episodes_total[1h]))",
            ),
        ],
    )
}

/// All hosts of a job: what a status page asks for every few seconds.
fn jobs(site: &Parameters) -> Vec<Recording> {
    table(
        site,
        &[
            ("job:zcrx_hosts:count", "Hosts.", "count by (%C, job) (zcrxd_build_info)"),
            ("job:zcrx_queues:sum", "Queues.", "sum by (%C, job) (instance:zcrx_queues:count)"),
            (
                "job:zcrx_queue_episode_active:sum",
                "Queues with an alarm.",
                "sum by (%C, job) (instance:zcrx_queue_episode_active:sum)",
            ),
            (
                "job:zcrx_hosts_with_alarm:count",
                "Hosts with a queue that has an alarm.",
                "count by (%C, job) (instance:zcrx_queue_episode_active:sum > 0)",
            ),
            (
                "job:zcrx_received_bytes:rate5m",
                "Payload received.",
                "sum by (%C, job) (instance:zcrx_received_bytes:rate%W)",
            ),
            (
                "job_alarm:zcrx_queue_alarm:sum",
                "Queues by alarm.",
                "sum by (%C, job, alarm) (instance_alarm:zcrx_queue_alarm:sum)",
            ),
        ],
    )
}
