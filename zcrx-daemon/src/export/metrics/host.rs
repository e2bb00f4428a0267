//! Metrics of the host, the daemon and its web endpoint.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::observe::{Observation, ProcessSample, WebSample};

impl Subject for Observation {}

impl Subject for WebSample {}

impl Subject for ProcessSample {}

const NO_WEB_CONFIG: &str = "there is no web configuration file";
const NO_TLS: &str = "the web endpoint speaks plain HTTP, or verifies no client";
const NO_PROC: &str = "/proc is not readable";

pub(super) static OBSERVATION: &[Metric<Observation>] = &[
    Metric::<Observation>::gauge(
        "zcrxd_build_info",
        "The running zcrxd: version and revision. Always 1.",
        Each(&["version", "revision"], |_, series| {
            series.push(&[env!("CARGO_PKG_VERSION"), option_env!("ZCRXD_REVISION").unwrap_or_default()], 1.0);
        }),
    ),
    Metric::<Observation>::gauge(
        "zcrxd_kernel_info",
        "The kernel that zcrxd runs on. Always 1.",
        Each(&["release"], |observation, series| series.push(&[&observation.host.kernel], 1.0)),
    ),
    Metric::<Observation>::gauge(
        "zcrxd_collector_duration_seconds",
        "Time in seconds that a collector (receive, probe, netdev, process) took for this scrape.",
        Each(&["collector"], |observation, series| {
            for collection in &observation.collections {
                series.push(&[collection.collector], collection.took.as_secs_f64());
            }
        }),
    ),
    Metric::<Observation>::gauge(
        "zcrxd_collector_success",
        "1 if a collector (probe, netdev, process) read all that this host offers, 0 if something is missing.",
        Each(&["collector"], |observation, series| {
            for collection in &observation.collections {
                if let Some(succeeded) = collection.succeeded {
                    series.push(&[collection.collector], f64::from(succeeded));
                }
            }
        }),
    )
    .absent("the collector read nothing that can be missing: snapshots are not attached, or no queue is on an interface"),
];

pub(super) static WEB: &[Metric<WebSample>] = &[
    Metric::<WebSample>::gauge(
        "zcrxd_web_connections",
        "Open connections to zcrxd's web endpoint.",
        One(|web| Some(web.connections as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrxd_web_accepted_connections_total",
        "Connections that zcrxd's web endpoint accepted.",
        One(|web| Some(web.accepted as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrxd_web_evicted_connections_total",
        "Connections that zcrxd's web endpoint closed because there were too many. Rises when clients crowd the endpoint.",
        One(|web| Some(web.evicted as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrxd_web_unauthorized_requests_total",
        "Requests to zcrxd's web endpoint without valid credentials.",
        One(|web| Some(web.unauthorized as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrxd_web_failed_tls_handshakes_total",
        "TLS handshakes with zcrxd's web endpoint that failed, timed out, or came from a client without permission.",
        One(|web| Some(web.handshakes_failed as f64)),
    ),
    Metric::<WebSample>::gauge(
        "zcrxd_web_config_last_reload_successful",
        "1 if the last read of the web configuration succeeded; 0 if it failed and the previous one stays in use.",
        One(|web| web.config.map(|reload| f64::from(reload.successful))),
    )
    .absent(NO_WEB_CONFIG),
    Metric::<WebSample>::gauge(
        "zcrxd_web_config_last_reload_success_timestamp_seconds",
        "Unix time in seconds at which zcrxd read the web configuration that is in use.",
        One(|web| web.config.and_then(|reload| reload.last_success_seconds())),
    )
    .absent(NO_WEB_CONFIG),
    Metric::<WebSample>::gauge(
        "zcrxd_web_certificate_not_before_timestamp_seconds",
        "Unix time in seconds from which the certificate of `zcrxd_web_certificate_not_after_timestamp_seconds` is valid.",
        Each(&["certificate"], |web, series| {
            for (certificate, validity) in web.certificates() {
                series.push(&[certificate], validity.not_before as f64);
            }
        }),
    )
    .absent(NO_TLS),
    Metric::<WebSample>::gauge(
        "zcrxd_web_certificate_not_after_timestamp_seconds",
        "Unix time in seconds at which the first certificate of the server's chain, or of the CAs for clients, expires.",
        Each(&["certificate"], |web, series| {
            for (certificate, validity) in web.certificates() {
                series.push(&[certificate], validity.not_after as f64);
            }
        }),
    )
    .absent(NO_TLS),
];

pub(super) static PROCESS: &[Metric<ProcessSample>] = &[
    Metric::<ProcessSample>::counter(
        "process_cpu_seconds_total",
        "User and system CPU time of zcrxd, in seconds.",
        One(|process| Some(process.cpu.as_secs_f64())),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_start_time_seconds",
        "Unix time in seconds at which zcrxd started.",
        One(|process| process.started.map(|started| started.as_secs_f64())),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_resident_memory_bytes",
        "Resident memory of zcrxd, in bytes.",
        One(|process| Some(process.resident_bytes as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_virtual_memory_bytes",
        "Virtual memory of zcrxd, in bytes.",
        One(|process| Some(process.virtual_bytes as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_threads",
        "Number of threads of zcrxd.",
        One(|process| Some(process.threads as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_open_fds",
        "Number of file descriptors that zcrxd has open.",
        One(|process| process.open_fds.map(|fds| fds as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_max_fds",
        "Number of file descriptors that zcrxd may open.",
        One(|process| process.max_fds.map(|fds| fds as f64)),
    )
    .absent("there is no limit, or /proc is not readable"),
];
