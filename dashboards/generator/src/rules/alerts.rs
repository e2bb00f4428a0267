//! Every alert.
//!
//! Symptoms page, causes and the watcher warn. Labels of an alert are those of its query: a cause that changes while a
//! trouble lasts must not begin a new alert, so cause and owner are looked up for the text instead.

use super::About::{Cause, Symptom, Watcher};
use super::Severity::{Critical, Warning};
use super::{About, Alert, Severity};
use crate::config::{
    COPIED, EPISODES, FDS, FORESIGHT, JOB, REGISTRATIONS, RESTARTS, SINK_ERRORS, SLOW_SCRAPE, STALE,
    Threshold,
};

/// The queue an alert is about, as people write it.
const QUEUE: &str = "{{ if $labels.interface }}{{ $labels.interface }}:{{ end }}{{ $labels.queue }}";

/// The likeliest cause, and who has the queue.
const WHY: &str = concat!(
    "{{ with printf `topk(1, zcrx_queue_cause_effect_ratio{job=%q,instance=%q,interface=%q,queue=%q})` ",
    "$labels.job $labels.instance $labels.interface $labels.queue | query }}",
    "{{ with first . }} Likeliest cause: {{ .Labels.cause }}{{ if .Labels.confidence }} (confidence ",
    "{{ .Labels.confidence }}, explains {{ .Value | humanizePercentage }}){{ end }}.{{ end }}{{ end }}",
    "{{ with printf `zcrx_ifq_info{job=%q,instance=%q,interface=%q,queue=%q}` ",
    "$labels.job $labels.instance $labels.interface $labels.queue | query }}",
    "{{ with first . }} Owner: {{ .Labels.comm }} (process {{ .Labels.pid }}).{{ end }}{{ end }}",
);

/// One alert as the tables below write it; `%T` in a query is the threshold.
struct Row {
    name: &'static str,
    about: About,
    severity: Severity,
    lasting: &'static str,
    query: &'static str,
    threshold: Option<Threshold>,
    summary: &'static str,
    description: &'static str,
}

/// What is wrong with a queue.
struct Trouble {
    name: &'static str,
    /// The value of the label `trouble`.
    label: &'static str,
    about: About,
    /// What the queue does, after its name.
    what: &'static str,
    description: &'static str,
}

/// What is wrong with a queue: one alert for each value of `trouble`.
///
/// All last a minute longer than the diagnosis itself asks for: what heals by then is an episode in the metrics, and
/// nobody needs to get up for it.
const OF_A_QUEUE: [Trouble; 9] = [
    Trouble {
        name: "ZcrxQueueStarving",
        label: "starving",
        about: Symptom,
        what: "starves",
        description: "No buffer has been allocated for $time: what is sent to the queue is lost or waits.",
    },
    Trouble {
        name: "ZcrxQueueStalled",
        label: "stalled",
        about: Symptom,
        what: "is stalled",
        description: "Buffers wait, but nothing has fetched them for $time: what is sent to the queue is lost or waits.",
    },
    Trouble {
        name: "ZcrxQueueDroppingPackets",
        label: "dropping_packets",
        about: Symptom,
        what: "drops packets",
        description: "Allocations have kept failing for $time, and packets are dropped: senders retransmit, throughput falls.",
    },
    Trouble {
        name: "ZcrxQueueCopyLivelock",
        label: "copy_livelock",
        about: Symptom,
        what: "receives nothing: no buffer to copy into",
        description: "For $time receives have ended with ENOMEM, since data has to be copied and no buffer is free.",
    },
    Trouble {
        name: "ZcrxQueueMissteered",
        label: "missteered",
        about: Symptom,
        what: "loses connections",
        description: "For $time receives have ended with EFAULT: the data of their flows lies in the buffers of another queue.",
    },
    Trouble {
        name: "ZcrxQueueCqExhausted",
        label: "cq_exhausted",
        about: Cause,
        what: "has no room for completions",
        description: "For $time receives have ended with ENOSPC: data stays in the sockets until somebody arms a receive again.",
    },
    Trouble {
        name: "ZcrxQueueRefillOverflow",
        label: "refill_overflow",
        about: Cause,
        what: "cannot take buffers back",
        description: "For $time returned buffers have found no room in the refill ring.",
    },
    Trouble {
        name: "ZcrxQueueLeaking",
        label: "leaking",
        about: Cause,
        what: "leaks buffers",
        description: "What the owner holds has only grown for $time: the queue will starve.",
    },
    Trouble {
        name: "ZcrxQueuePinned",
        label: "pinned",
        about: Cause,
        what: "is gone, but its memory is not",
        description: "The page pool was detached $time ago, and buffers of it are still out.",
    },
];

const OTHERS: &[Row] = &[
    Row {
        name: "ZcrxReceiveQueueFailed",
        about: Symptom,
        severity: Critical,
        lasting: "1m",
        query: "zcrx_receive_state{state=\"failed\"} == 1",
        threshold: None,
        summary: "zcrxd does not receive on queue $queue of {{ $labels.instance }}",
        description: "zcrxd's own receive queue has failed and is tried again with growing pauses. \
                      http://{{ $labels.instance }}/readyz says why.",
    },
    Row {
        name: "ZcrxReceiveDataMismatched",
        about: Symptom,
        severity: Critical,
        lasting: "0s",
        query: "increase(zcrx_receive_mismatched_bytes_total[10m]) > 0",
        threshold: None,
        summary: "Queue $queue of {{ $labels.instance }} delivered wrong data",
        description: "{{ $value | humanize1024 }}B of verified payload were not what the test pattern says, within ten minutes.",
    },
    Row {
        name: "ZcrxReceiverDown",
        about: Symptom,
        severity: Critical,
        lasting: "2m",
        query: "up == 0\nand on (job, instance)\nlast_over_time(zcrx_receive_info[1h])",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} is down, and it received",
        description: "The scrape fails, and within the last hour this zcrxd had receive queues of its own: they are down with it.",
    },
    Row {
        name: "ZcrxQueueStarvationForecast",
        about: Cause,
        severity: Warning,
        lasting: "2m",
        query: "zcrx_queue_time_to_starvation_seconds > 0\nand\nzcrx_queue_time_to_starvation_seconds < %T",
        threshold: Some(FORESIGHT),
        summary: "Queue $queue of {{ $labels.instance }} will starve",
        description: "At this rate it starves in {{ $value | humanizeDuration }}.",
    },
    Row {
        name: "ZcrxQueueStarvesRepeatedly",
        about: Cause,
        severity: Warning,
        lasting: "5m",
        query: "queue:zcrx_starvation_episodes:increase1h >= %T",
        threshold: Some(EPISODES),
        summary: "Queue $queue of {{ $labels.instance }} starves again and again",
        description: "{{ $value | humanize }} episodes of trouble within an hour, each over before it paged.",
    },
    Row {
        name: "ZcrxReceiveDegraded",
        about: Cause,
        severity: Warning,
        lasting: "15m",
        query: "zcrx_receive_state{state=\"degraded\"} == 1",
        threshold: None,
        summary: "Queue $queue of {{ $labels.instance }} receives without zero copy",
        description: "zcrxd receives, but not on the backend that was asked for: every byte costs a copy.\
                      {{ with printf `zcrx_receive_backend_refused_info{job=%q,instance=%q,interface=%q,queue=%q}` \
                      $labels.job $labels.instance $labels.interface $labels.queue | query }}\
                      {{ range . }} Refused: {{ .Labels.backend }}{{ if .Labels.errno }} with {{ .Labels.errno }}{{ end }}.\
                      {{ end }}{{ end }}",
    },
    Row {
        name: "ZcrxReceiveCopying",
        about: Cause,
        severity: Warning,
        lasting: "15m",
        query: "queue:zcrx_receive_copied_bytes:ratio_rate5m > %T\nand on (job, instance, interface, queue)\n\
                zcrx_receive_info{backend=\"device\"}",
        threshold: Some(COPIED),
        summary: "Queue $queue of {{ $labels.instance }} copies what should arrive without a copy",
        description: "{{ $value | humanizePercentage }} of the payload is copied into the area, though the queue runs on the device.",
    },
    Row {
        name: "ZcrxReceiveSinkFails",
        about: Cause,
        severity: Warning,
        lasting: "0s",
        // A peer of a sink that leaves is nothing unusual; and as above, the first event makes the series.
        query: "(\n  (zcrx_receive_sink_errors_total{errno!~\"EPIPE|ECONNRESET\"} unless zcrx_receive_sink_errors_total offset 15m)\n  \
                and on (job, instance, interface, queue) (zcrx_receive_connections_accepted_total offset 15m)\n  or\n  \
                increase(zcrx_receive_sink_errors_total{errno!~\"EPIPE|ECONNRESET\"}[15m])\n) >= %T",
        threshold: Some(SINK_ERRORS),
        summary: "The sink of queue $queue of {{ $labels.instance }} fails with {{ $labels.errno }}",
        description: "{{ $value | humanize }} connections ended for it within 15 minutes: what was received of them and not yet \
                      given to the sink is lost.",
    },
    Row {
        name: "ZcrxRegistrationsRefused",
        about: Cause,
        severity: Warning,
        lasting: "0s",
        // A series that appears with its first event shows no increase: if the host was watched before, what it counts
        // is new. On a host that was not, nobody knows how old it is.
        query: "(\n  (zcrx_registration_failures_total unless zcrx_registration_failures_total offset 15m)\n  \
                and on (job, instance) (zcrx_registrations_total offset 15m)\n  or\n  \
                increase(zcrx_registration_failures_total[15m])\n) >= %T",
        threshold: Some(REGISTRATIONS),
        summary: "{{ $labels.instance }} refuses zcrx queues with {{ $labels.errno }}",
        description: "{{ $value | humanize }} registrations failed with {{ $labels.errno }} within 15 minutes.\
                      {{ with printf `zcrx_registration_last_info{job=%q,instance=%q}` $labels.job $labels.instance | query }}\
                      {{ with first . }} The last attempt was that of {{ .Labels.comm }} (process {{ .Labels.pid }}) for \
                      {{ .Labels.interface }}:{{ .Labels.queue }}.{{ end }}{{ end }}",
    },
    Row {
        name: "ZcrxdDown",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        query: "up{job=\"%J\"} == 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} cannot be scraped",
        description: "Queues of this host may starve unseen.",
    },
    Row {
        name: "ZcrxdAbsent",
        about: Watcher,
        severity: Warning,
        lasting: "10m",
        query: "absent(up{job=\"%J\"})",
        threshold: None,
        summary: "Prometheus has no target of the job {{ $labels.job }}",
        description: "No zcrxd is scraped at all: every other alert of these rules is silent for that reason.",
    },
    Row {
        name: "ZcrxdRestarting",
        about: Watcher,
        severity: Warning,
        lasting: "0s",
        query: "changes(process_start_time_seconds[30m]) > %T\nand on (job, instance)\nzcrx_build_info",
        threshold: Some(RESTARTS),
        summary: "zcrxd on {{ $labels.instance }} keeps restarting",
        description: "{{ $value | humanize }} restarts within half an hour.",
    },
    Row {
        name: "ZcrxdOutOfFileDescriptors",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        query: "process_open_fds / process_max_fds > %T\nand on (job, instance)\nzcrx_build_info",
        threshold: Some(FDS),
        summary: "zcrxd on {{ $labels.instance }} is running out of file descriptors",
        description: "{{ $value | humanizePercentage }} of them are open.",
    },
    Row {
        name: "ZcrxProbeMissing",
        about: Watcher,
        severity: Warning,
        lasting: "10m",
        query: "max by (job, instance, probe) (zcrx_probe_attached) == 0",
        threshold: None,
        summary: "The probe {{ $labels.probe }} is not attached on {{ $labels.instance }}",
        description: "Every mechanism was refused, or this kernel has nothing to attach to. What the probe tells is unknown there.",
    },
    Row {
        name: "ZcrxProbeLosesEvents",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        query: "increase(zcrx_probe_lost_events_total[10m]) > 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} loses events",
        description: "{{ $value | humanize }} events within ten minutes found no room on their way from the kernel.",
    },
    Row {
        name: "ZcrxSnapshotIncomplete",
        about: Watcher,
        severity: Warning,
        lasting: "15m",
        query: "zcrx_snapshot_incomplete > 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} may not see every queue",
        description: "{{ $value | humanize }} reasons why something may be missing from the snapshot of the kernel's queues.",
    },
    Row {
        name: "ZcrxDiagnosisStale",
        about: Watcher,
        severity: Warning,
        lasting: "2m",
        query: "zcrx_diagnosis_age_seconds > %T",
        threshold: Some(STALE),
        summary: "zcrxd on {{ $labels.instance }} has stopped looking at queues",
        description: "The last diagnosis is {{ $value | humanizeDuration }} old: what it says of queues may not be so any more.",
    },
    Row {
        name: "ZcrxThreadHangs",
        about: Watcher,
        severity: Warning,
        lasting: "1m",
        query: "zcrx_thread_responsive == 0",
        threshold: None,
        summary: "The thread {{ $labels.thread }} of zcrxd on {{ $labels.instance }} hangs",
        description: "It has not answered for too long. Under systemd the watchdog starts zcrxd anew; without it, nobody does.",
    },
    Row {
        name: "ZcrxConfigReloadFailed",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        query: "zcrx_config_last_reload_successful == 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} refused its new configuration",
        description: "The configuration was wrong when it was last read; the one before is in use. The next start will fail with it.",
    },
    Row {
        name: "ZcrxWebConfigReloadFailed",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        query: "zcrx_web_config_last_reload_successful == 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} refused its new web configuration",
        description: "Certificates, keys or users were wrong when they were last read; those before are in use, and certificates expire.",
    },
    Row {
        name: "ZcrxScrapeSlow",
        about: Watcher,
        severity: Warning,
        lasting: "10m",
        query: "sum by (job, instance) (zcrx_observe_duration_seconds) > %T",
        threshold: Some(SLOW_SCRAPE),
        summary: "Scraping zcrxd on {{ $labels.instance }} is slow",
        description: "Reading all sources takes {{ $value | humanizeDuration }}.",
    },
    Row {
        name: "ZcrxWebConnectionsEvicted",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        query: "increase(zcrx_web_connections_evicted_total[10m]) > 0",
        threshold: None,
        summary: "The web endpoint of zcrxd on {{ $labels.instance }} is crowded",
        description: "{{ $value | humanize }} connections were closed within ten minutes because there were too many.",
    },
];

/// Every alert, in the order of its file.
pub(crate) fn alerts() -> Vec<Alert> {
    let mut alerts: Vec<_> = OF_A_QUEUE.iter().map(of_a_queue).collect();
    alerts.extend(OTHERS.iter().map(alert));
    alerts
}

fn of_a_queue(row: &Trouble) -> Alert {
    Alert {
        name: row.name,
        about: row.about,
        severity: if row.about == Symptom { Critical } else { Warning },
        lasting: "1m",
        query: format!("zcrx_queue_trouble_seconds{{trouble=\"{}\"}}", row.label),
        summary: format!("Queue {QUEUE} of {{{{ $labels.instance }}}} {}", row.what),
        description: row.description.replace("$time", "{{ $value | humanizeDuration }}") + WHY,
    }
}

fn alert(row: &Row) -> Alert {
    let threshold = row.threshold.map_or_else(String::new, |it| format!("scalar({})", it.series()));
    let forecast = matches!(row.name, "ZcrxQueueStarvationForecast" | "ZcrxQueueStarvesRepeatedly");
    Alert {
        name: row.name,
        about: row.about,
        severity: row.severity,
        lasting: row.lasting,
        query: row.query.replace("%T", &threshold).replace("%J", JOB),
        summary: row.summary.replace("$queue", QUEUE),
        description: row.description.to_owned() + if forecast { WHY } else { "" },
    }
}
