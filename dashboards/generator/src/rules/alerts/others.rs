//! Alerts of receivers, of forecasts and copies, of registrations, and of zcrxd itself.

use super::About::{Cause, Symptom, Watcher};
use super::Row;
use super::Severity::{Critical, Warning};
use crate::config::{
    CERTIFICATE, COPIED, EPISODES, FDS, FORESIGHT, REGISTRATIONS, RESTARTS, SINK_ERRORS, SLOW_SCRAPE, STALE,
};

pub(super) const OTHERS: &[Row] = &[
    Row {
        name: "ZcrxReceiveQueueFailed",
        about: Symptom,
        severity: Critical,
        lasting: "1m",
        keep: "2m",
        query: "zcrxd_receiver_state{state=\"failed\"} == 1",
        threshold: None,
        summary: "zcrxd does not receive on queue $queue of {{ $labels.instance }}",
        description: "The receiver has failed; zcrxd tries again with growing pauses. \
                      http://{{ $labels.instance }}/readyz says why.",
    },
    Row {
        name: "ZcrxReceiveDataMismatched",
        about: Symptom,
        severity: Critical,
        lasting: "0s",
        keep: "5m",
        query: "increase(zcrxd_receiver_mismatched_bytes_total[10m]) > 0",
        threshold: None,
        summary: "Queue $queue of {{ $labels.instance }} delivered wrong data",
        description: "{{ $value | humanize1024 }}B of verified payload differed from the test pattern within 10 minutes.",
    },
    Row {
        name: "ZcrxReceiverDown",
        about: Symptom,
        severity: Critical,
        lasting: "2m",
        keep: "0s",
        query: "up == 0\nand on (%H)\ninstance:zcrxd_receivers:last",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} is down, and it received",
        description: "The scrape fails, and this zcrxd had receivers before: they are down with it. \
                      `zcrxd runbook ZcrxReceiverDown` on any host with zcrxd says what to do.",
    },
    Row {
        name: "ZcrxQueueStarvationForecast",
        about: Cause,
        severity: Warning,
        lasting: "2m",
        keep: "5m",
        query: "zcrx_queue_time_to_starvation_seconds > 0\nand\nzcrx_queue_time_to_starvation_seconds < %T",
        threshold: Some(FORESIGHT),
        summary: "Queue $queue of {{ $labels.instance }} will starve",
        description: "At this rate the queue starves in {{ $value | humanizeDuration }}.",
    },
    Row {
        name: "ZcrxQueueStarvesRepeatedly",
        about: Cause,
        severity: Warning,
        lasting: "5m",
        keep: "5m",
        query: "sum without (cause) (increase(zcrx_queue_episodes_total[1h])) >= %T",
        threshold: Some(EPISODES),
        summary: "Queue $queue of {{ $labels.instance }} has alarms again and again",
        description: "{{ $value | humanize }} episodes within an hour, each too short to page.",
    },
    Row {
        name: "ZcrxReceiveDegraded",
        about: Cause,
        severity: Warning,
        lasting: "15m",
        keep: "5m",
        query: "zcrxd_receiver_state{state=\"degraded\"} == 1",
        threshold: None,
        summary: "Queue $queue of {{ $labels.instance }} receives without zero copy",
        description: "zcrxd receives, but not on the configured backend: every byte costs a copy.\
                      {{ with printf `zcrxd_receiver_backend_refused_info$matchers` $arguments | query }}\
                      {{ range . }} Refused: {{ .Labels.backend }}{{ if .Labels.errno }} with {{ .Labels.errno }}{{ end }}.\
                      {{ end }}{{ end }}",
    },
    Row {
        name: "ZcrxReceiveCopying",
        about: Cause,
        severity: Warning,
        lasting: "15m",
        keep: "5m",
        query: "rate(zcrxd_receiver_copied_bytes_total[5m])\n/\n(rate(zcrxd_receiver_received_bytes_total[5m]) > 0) > %T\n\
                and on (%Q)\nzcrxd_receiver_info{backend=\"device\"}",
        threshold: Some(COPIED),
        summary: "Receiver $queue of {{ $labels.instance }} copies payload that should arrive without a copy",
        description: "{{ $value | humanizePercentage }} of the payload is copied into the area, though the backend is device.",
    },
    Row {
        name: "ZcrxQueueCopying",
        about: Cause,
        severity: Warning,
        lasting: "15m",
        keep: "5m",
        // Queues without a device copy everything by design; receivers of zcrxd have an alert of their own.
        query: "(\n  rate(zcrx_queue_copied_bytes_total{interface!=\"software\"}[5m])\n  /\n  \
                (rate(zcrx_queue_received_bytes_total[5m]) > 0) > %T\n)\nunless on (%Q)\nzcrxd_receiver_info",
        threshold: Some(COPIED),
        summary: "Queue $queue of {{ $labels.instance }} copies payload that should arrive without a copy",
        description: "{{ $value | humanizePercentage }} of the payload of this application's queue is copied: its flows \
                      arrive on other queues, or header split is off.",
    },
    Row {
        name: "ZcrxReceiveSinkFails",
        about: Cause,
        severity: Warning,
        lasting: "0s",
        keep: "5m",
        // A peer of a sink that leaves is nothing unusual. The first error creates its series, which then shows no increase.
        query: "(\n  (zcrxd_receiver_sink_errors_total{errno!~\"EPIPE|ECONNRESET\"} unless zcrxd_receiver_sink_errors_total offset 15m)\n  \
                and on (%Q) (zcrxd_receiver_accepted_connections_total offset 15m)\n  or\n  \
                increase(zcrxd_receiver_sink_errors_total{errno!~\"EPIPE|ECONNRESET\"}[15m])\n) >= %T",
        threshold: Some(SINK_ERRORS),
        summary: "The sink of queue $queue of {{ $labels.instance }} fails with {{ $labels.errno }}",
        description: "{{ $value | humanize }} connections ended for this reason within 15 minutes: payload that they received \
                      and had not yet given to the sink is lost.",
    },
    Row {
        name: "ZcrxRegistrationsRefused",
        about: Cause,
        severity: Warning,
        lasting: "5m",
        keep: "15m",
        // The first failure creates its series, which then shows no increase: on a host that was observed before, all of
        // its count is new. On a host that was not, its age is unknown. EPERM means that a process without CAP_NET_ADMIN
        // asked, which every user can do as often as they like.
        query: "(\n  (zcrx_registration_failures_total{errno!=\"EPERM\"} unless zcrx_registration_failures_total offset 15m)\n  \
                and on (%H) (zcrx_registrations_total offset 15m)\n  or\n  \
                increase(zcrx_registration_failures_total{errno!=\"EPERM\"}[15m])\n) >= %T",
        threshold: Some(REGISTRATIONS),
        summary: "The kernel of {{ $labels.instance }} refuses zcrx queues with {{ $labels.errno }}",
        description: "{{ $value | humanize }} registrations of applications failed with {{ $labels.errno }} within 15 minutes. \
                      `zcrxd diagnose` and http://{{ $labels.instance }}/ on the host name the processes and the remedy.",
    },
    Row {
        name: "ZcrxdDown",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "0s",
        query: "up{job=~\"%J\"} == 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} cannot be scraped",
        description: "Queues of this host may starve unseen. `zcrxd runbook ZcrxdDown` on any host with zcrxd says what to do.",
    },
    Row {
        name: "ZcrxdAbsent",
        about: Watcher,
        severity: Warning,
        lasting: "10m",
        keep: "0s",
        query: "absent(up{job=~\"%J\"})",
        threshold: None,
        summary: "Prometheus has no target of zcrxd",
        description: "No zcrxd is scraped at all: every other alert of these rules is silent for that reason. \
                      `zcrxd runbook ZcrxdAbsent` on any host with zcrxd says what to do.",
    },
    Row {
        name: "ZcrxdRestarting",
        about: Watcher,
        severity: Warning,
        lasting: "0s",
        keep: "10m",
        query: "changes(process_start_time_seconds[30m]) > %T\nand on (%H)\nzcrxd_build_info",
        threshold: Some(RESTARTS),
        summary: "zcrxd on {{ $labels.instance }} keeps restarting",
        description: "{{ $value | humanize }} restarts within half an hour.",
    },
    Row {
        name: "ZcrxdOutOfFileDescriptors",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "5m",
        query: "process_open_fds / process_max_fds > %T\nand on (%H)\nzcrxd_build_info",
        threshold: Some(FDS),
        summary: "zcrxd on {{ $labels.instance }} is running out of file descriptors",
        description: "{{ $value | humanizePercentage }} of the file descriptors that zcrxd may open are open.",
    },
    Row {
        name: "ZcrxProbeMissing",
        about: Watcher,
        severity: Warning,
        lasting: "10m",
        keep: "0s",
        // A probe of something that this kernel does not have (state not_in_kernel) is no fault of the host.
        query: "zcrxd_probe_info{state=~\"refused|failed\"} == 1",
        threshold: None,
        summary: "The probe {{ $labels.probe }} is not attached on {{ $labels.instance }}",
        description: "State: {{ $labels.state }}. What the probe observes is unknown on this host; `zcrxd probes` says why.",
    },
    Row {
        name: "ZcrxProbeLosesEvents",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "5m",
        query: "sum by (%H) (increase(zcrxd_probe_lost_events_total[10m])) > 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} loses events",
        description: "{{ $value | humanize }} events within 10 minutes found a kernel buffer full: counts are too low.",
    },
    Row {
        name: "ZcrxSnapshotIncomplete",
        about: Watcher,
        severity: Warning,
        lasting: "15m",
        keep: "5m",
        query: "zcrxd_snapshot_incomplete_reasons > 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} may not see every queue",
        description: "{{ $value | humanize }} reasons why the snapshot of the kernel's queues may miss something; \
                      `zcrxd queues` names them.",
    },
    Row {
        name: "ZcrxDiagnosisStale",
        about: Watcher,
        severity: Warning,
        lasting: "2m",
        keep: "0s",
        query: "time() - zcrxd_diagnosis_timestamp_seconds > %T",
        threshold: Some(STALE),
        summary: "zcrxd on {{ $labels.instance }} has stopped observing queues",
        description: "The last diagnosis is {{ $value | humanizeDuration }} old: alarms of this host may be out of date.",
    },
    Row {
        name: "ZcrxThreadHangs",
        about: Watcher,
        severity: Warning,
        lasting: "1m",
        keep: "0s",
        query: "zcrxd_thread_responsive == 0",
        threshold: None,
        summary: "The thread {{ $labels.thread }} of zcrxd on {{ $labels.instance }} hangs",
        description: "The thread has not responded for too long. systemd's watchdog restarts zcrxd; without systemd, \
                      restart zcrxd by hand.",
    },
    Row {
        name: "ZcrxConfigReloadFailed",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "0s",
        query: "zcrxd_config_last_reload_successful == 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} refused its new configuration",
        description: "The configuration has an error; the previous one stays in use. The next start will fail. \
                      `zcrxd check-config` on the host names the error.",
    },
    Row {
        name: "ZcrxWebConfigReloadFailed",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "0s",
        query: "zcrxd_web_config_last_reload_successful == 0",
        threshold: None,
        summary: "zcrxd on {{ $labels.instance }} refused its new web configuration",
        description: "Certificates, keys or users have an error; the previous ones stay in use, and certificates expire.",
    },
    Row {
        name: "ZcrxWebCertificateExpires",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "0s",
        // A CA of ten years is not renewed in its ninth.
        query: "zcrxd_web_certificate_not_after_timestamp_seconds - time() < 30 * 86400\nand\n\
                zcrxd_web_certificate_not_after_timestamp_seconds - time()\n  < %T * (\n    \
                zcrxd_web_certificate_not_after_timestamp_seconds - zcrxd_web_certificate_not_before_timestamp_seconds\n  )",
        threshold: Some(CERTIFICATE),
        summary: "The certificate {{ $labels.certificate }} of zcrxd on {{ $labels.instance }} expires soon",
        description: "In {{ $value | humanizeDuration }}, scrapes of this host begin to fail, or have begun to. zcrxd reads \
                      new certificates by itself.",
    },
    Row {
        name: "ZcrxScrapeSlow",
        about: Watcher,
        severity: Warning,
        lasting: "10m",
        keep: "5m",
        query: "sum by (%H) (zcrxd_collector_duration_seconds) > %T",
        threshold: Some(SLOW_SCRAPE),
        summary: "Scraping zcrxd on {{ $labels.instance }} is slow",
        description: "All collectors together take {{ $value | humanizeDuration }} for a scrape.",
    },
    Row {
        name: "ZcrxWebConnectionsEvicted",
        about: Watcher,
        severity: Warning,
        lasting: "5m",
        keep: "5m",
        query: "increase(zcrxd_web_evicted_connections_total[10m]) > 0",
        threshold: None,
        summary: "The web endpoint of zcrxd on {{ $labels.instance }} is crowded",
        description: "{{ $value | humanize }} connections were closed within 10 minutes because there were too many.",
    },
];
