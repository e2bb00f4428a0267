//! Metrics of zcrxd as a service: its configuration, its threads, its log.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::observe::ServiceSample;

impl Subject for ServiceSample {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

pub(super) static SERVICE: &[Metric<ServiceSample>] = &[
    Metric::<ServiceSample>::gauge(
        "zcrx_config_last_reload_successful",
        "Whether the configuration was good when it was last read (1); if not (0), the one before is in use.",
        One(|service| service.config.map(|reload| f64::from(reload.successful))),
    )
    .absent("zcrxd has not read it yet"),
    Metric::<ServiceSample>::gauge(
        "zcrx_config_last_reload_success_timestamp_seconds",
        "When the configuration in use was read, since the Unix epoch.",
        One(|service| service.config.and_then(|reload| reload.last_success_seconds())),
    )
    .absent("zcrxd has not read it yet"),
    Metric::<ServiceSample>::gauge(
        "zcrx_thread_responsive",
        "Whether a thread of zcrxd answers (1) or has not for too long (0). While one does not, the watchdog is not fed.",
        Each(&["thread"], |service, series| {
            for thread in &service.threads {
                series.push(&[&thread.name], f64::from(thread.responsive));
            }
        }),
    )
    .absent("zcrxd is starting or ending"),
    Metric::<ServiceSample>::counter(
        "zcrx_log_lines_suppressed_total",
        "Log lines left out because the same place had said too much within a short time.",
        One(|service| Some(service.log_lines_suppressed as f64)),
    ),
];
