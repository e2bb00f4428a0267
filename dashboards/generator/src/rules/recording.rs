//! What a view of many hosts reads instead of every series of every queue.

use super::Recording;
use crate::config::WINDOW;

/// Every recording rule, each after those that it reads.
pub(crate) fn recordings() -> Vec<Recording> {
    let mut rules = Vec::new();
    let mut add = |name, about, query: &str| {
        rules.push(Recording { name, about, query: query.replace("$window", WINDOW) });
    };

    // Hosts.
    add(
        "instance:zcrx_queues:count",
        "Queues that are diagnosed: those in the kernel and zcrxd's own.",
        "count by (job, instance) (zcrx_queue_troubled)",
    );
    add(
        "instance:zcrx_queue_troubled:sum",
        "Queues in trouble.",
        "sum by (job, instance) (zcrx_queue_troubled)",
    );
    add(
        "instance:zcrx_queue_headroom_ratio:min",
        "Headroom of the queue that has least.",
        "min by (job, instance) (zcrx_queue_headroom_ratio)",
    );
    add(
        "instance:zcrx_queue_time_to_starvation_seconds:min",
        "Time until the first queue starves.",
        "min by (job, instance) (zcrx_queue_time_to_starvation_seconds)",
    );
    add(
        "instance:zcrx_receive_state_failed:sum",
        "Own receive queues that do not receive.",
        "sum by (job, instance) (zcrx_receive_state{state=\"failed\"})",
    );
    add(
        "instance:zcrx_receive_state_degraded:sum",
        "Own receive queues that are not on the backend that was asked for.",
        "sum by (job, instance) (zcrx_receive_state{state=\"degraded\"})",
    );
    add(
        "instance:zcrx_receive_bytes:rate5m",
        "Payload that own queues received.",
        "sum by (job, instance) (rate(zcrx_receive_bytes_total[$window]))",
    );
    add(
        "instance:zcrx_receive_copied_bytes:rate5m",
        "Of it, what was copied.",
        "sum by (job, instance) (rate(zcrx_receive_copied_bytes_total[$window]))",
    );
    add(
        "instance:zcrx_receive_errors:rate5m",
        "Receives that ended with an error.",
        "sum by (job, instance) (rate(zcrx_receive_errors_total[$window]))",
    );
    add(
        "instance:zcrx_ifq_allocation_failures:rate5m",
        "Allocations of the kernel's provider that yielded nothing.",
        "sum by (job, instance) (rate(zcrx_ifq_allocation_failures_total[$window]))",
    );
    add(
        "instance:zcrx_ifq_starved_seconds:rate5m",
        "Queues that starve at a time, on average.",
        "sum by (job, instance) (rate(zcrx_ifq_starved_seconds_total[$window]))",
    );
    add(
        "instance:zcrx_probe_attached:min",
        "0 while a probe of the catalogue is attached by no mechanism.",
        "min by (job, instance) (max by (job, instance, probe) (zcrx_probe_attached))",
    );

    // Hosts, by what is wrong and why.
    add(
        "instance_trouble:zcrx_queue_trouble:sum",
        "Queues by what is wrong with them.",
        "sum by (job, instance, trouble) (zcrx_queue_trouble)",
    );
    add(
        "instance_cause:zcrx_queue_cause_effect_ratio:count",
        "Queues in trouble by each cause that is found.",
        "count by (job, instance, cause) (zcrx_queue_cause_effect_ratio)",
    );
    add(
        "instance_cause:zcrx_starvation_episodes:increase1h",
        "Episodes that ended within the hour, by their likeliest cause.",
        "sum by (job, instance, cause) (increase(zcrx_starvation_episodes_total[1h]))",
    );

    // Queues, for alerts and panels that would compute the same.
    add(
        "queue:zcrx_receive_copied_bytes:ratio_rate5m",
        "Share of an own queue's payload that was copied.",
        "rate(zcrx_receive_copied_bytes_total[$window])\n/\n(rate(zcrx_receive_bytes_total[$window]) > 0)",
    );
    add(
        "queue:zcrx_starvation_episodes:increase1h",
        "Episodes of a queue that ended within the hour.",
        "sum without (cause) (increase(zcrx_starvation_episodes_total[1h]))",
    );

    // All hosts of a job: what a status page asks for every few seconds.
    add("job:zcrx_hosts:count", "Hosts.", "count by (job) (zcrx_build_info)");
    add("job:zcrx_queues:sum", "Queues.", "sum by (job) (instance:zcrx_queues:count)");
    add(
        "job:zcrx_queue_troubled:sum",
        "Queues in trouble.",
        "sum by (job) (instance:zcrx_queue_troubled:sum)",
    );
    add(
        "job:zcrx_hosts_troubled:count",
        "Hosts with a queue in trouble.",
        "count by (job) (instance:zcrx_queue_troubled:sum > 0)",
    );
    add(
        "job:zcrx_receive_bytes:rate5m",
        "Payload received.",
        "sum by (job) (instance:zcrx_receive_bytes:rate$window)",
    );
    add(
        "job_trouble:zcrx_queue_trouble:sum",
        "Queues by what is wrong with them.",
        "sum by (job, trouble) (instance_trouble:zcrx_queue_trouble:sum)",
    );
    rules
}
