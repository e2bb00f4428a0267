//! Metrics of the host, the daemon and its web endpoint.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::observe::{Observation, ProcessSample, WebSample};

impl Subject for Observation {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

impl Subject for WebSample {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

impl Subject for ProcessSample {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

const NO_WEB_CONFIG: &str = "there is no web configuration";
const NO_PROC: &str = "/proc is not readable";

pub(super) static OBSERVATION: &[Metric<Observation>] = &[
    Metric::<Observation>::gauge(
        "zcrx_build_info",
        "The running zcrxd, always 1.",
        Each(&["version", "revision"], |_, series| {
            series.push(&[env!("CARGO_PKG_VERSION"), option_env!("ZCRXD_REVISION").unwrap_or_default()], 1.0);
        }),
    ),
    Metric::<Observation>::gauge(
        "zcrx_kernel_info",
        "The running kernel, always 1.",
        Each(&["release"], |observation, series| series.push(&[&observation.host.kernel], 1.0)),
    ),
    Metric::<Observation>::gauge(
        "zcrx_observe_duration_seconds",
        "How long reading each source took for this scrape.",
        Each(&["source"], |observation, series| {
            for (source, took) in &observation.took {
                series.push(&[source], took.as_secs_f64());
            }
        }),
    ),
];

pub(super) static WEB: &[Metric<WebSample>] = &[
    Metric::<WebSample>::gauge(
        "zcrx_web_connections",
        "Connections to the web endpoint open now.",
        One(|web| Some(web.connections as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrx_web_connections_accepted_total",
        "Connections to the web endpoint accepted.",
        One(|web| Some(web.accepted as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrx_web_connections_evicted_total",
        "Connections to the web endpoint closed, oldest first, because there were too many.",
        One(|web| Some(web.evicted as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrx_web_unauthorized_total",
        "Requests to the web endpoint without the name and password of a user.",
        One(|web| Some(web.unauthorized as f64)),
    ),
    Metric::<WebSample>::counter(
        "zcrx_web_tls_handshakes_failed_total",
        "Connections to the web endpoint whose TLS handshake failed, took too long, or was of a client that may not ask.",
        One(|web| Some(web.handshakes_failed as f64)),
    ),
    Metric::<WebSample>::gauge(
        "zcrx_web_config_last_reload_successful",
        "Whether the web configuration was good when it was last read (1); if not (0), the one before is in use.",
        One(|web| web.config.map(|reload| f64::from(reload.successful))),
    )
    .absent(NO_WEB_CONFIG),
    Metric::<WebSample>::gauge(
        "zcrx_web_config_last_reload_success_timestamp_seconds",
        "When the web configuration in use was read, since the Unix epoch.",
        One(|web| web.config.and_then(|reload| reload.last_success_seconds())),
    )
    .absent(NO_WEB_CONFIG),
];

pub(super) static PROCESS: &[Metric<ProcessSample>] = &[
    Metric::<ProcessSample>::counter(
        "process_cpu_seconds_total",
        "User and system CPU time of zcrxd.",
        One(|process| Some(process.cpu.as_secs_f64())),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_start_time_seconds",
        "When zcrxd started, since the Unix epoch.",
        One(|process| process.started.map(|started| started.as_secs_f64())),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_resident_memory_bytes",
        "Resident memory of zcrxd.",
        One(|process| Some(process.resident_bytes as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_virtual_memory_bytes",
        "Virtual memory of zcrxd.",
        One(|process| Some(process.virtual_bytes as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_threads",
        "Threads of zcrxd.",
        One(|process| Some(process.threads as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_open_fds",
        "File descriptors zcrxd has open.",
        One(|process| process.open_fds.map(|fds| fds as f64)),
    )
    .absent(NO_PROC),
    Metric::<ProcessSample>::gauge(
        "process_max_fds",
        "File descriptors zcrxd may open.",
        One(|process| process.max_fds.map(|fds| fds as f64)),
    )
    .absent("there is no limit, or /proc is not readable"),
];
