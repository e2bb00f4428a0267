//! Metrics of zcrxd as a service: its configuration, its threads, its log.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::observe::ServiceSample;

impl Subject for ServiceSample {}

pub(super) static SERVICE: &[Metric<ServiceSample>] = &[
    Metric::<ServiceSample>::gauge(
        "zcrxd_config_last_reload_successful",
        "1 if the last read of zcrxd's configuration succeeded; 0 if it failed and the previous one stays in use.",
        One(|service| service.config.map(|reload| f64::from(reload.successful))),
    )
    .absent("zcrxd has not read its configuration yet"),
    Metric::<ServiceSample>::gauge(
        "zcrxd_config_last_reload_success_timestamp_seconds",
        "Unix time in seconds at which zcrxd read the configuration that is in use.",
        One(|service| service.config.and_then(|reload| reload.last_success_seconds())),
    )
    .absent("zcrxd has not read its configuration yet"),
    Metric::<ServiceSample>::gauge(
        "zcrxd_thread_responsive",
        "1 if a thread of zcrxd responds, 0 if it has not responded for too long. At 0, systemd's watchdog restarts zcrxd.",
        Each(&["thread"], |service, series| {
            for thread in &service.threads {
                series.push(&[&thread.name], f64::from(thread.responsive));
            }
        }),
    )
    .absent("zcrxd is starting or stopping"),
    Metric::<ServiceSample>::counter(
        "zcrxd_log_suppressed_lines_total",
        "Log lines that zcrxd left out because one place in its code logged too much in a short time.",
        One(|service| Some(service.log_lines_suppressed as f64)),
    ),
    Metric::<ServiceSample>::counter(
        "zcrxd_log_dropped_lines_total",
        "Log lines that zcrxd dropped because the reader of its log (pipe, terminal, journal) did not keep up.",
        One(|service| Some(service.log_lines_dropped as f64)),
    ),
];
