//! Every alert.
//!
//! Symptoms page; causes and the watcher warn. Labels of an alert are those of its query: a cause that changes while an
//! alarm lasts must not begin a new alert, so cause and owner are looked up for the text instead. Text that an
//! application chooses (the name of a process) is never part of an alert.

mod others;
mod queue;

use super::{About, Alert, Severity};
use crate::config::{Parameters, Threshold};

/// The queue an alert is about, as people write it.
const QUEUE_NAME: &str = "{{ $labels.interface }}:{{ $labels.queue }}";

/// Selects the series of the alert's queue, in the format of a look-up, and what is filled in.
const MATCHERS: &str = "{%C=%q,job=%q,instance=%q,interface=%q,queue=%q}";
const ARGUMENTS: &str = "$labels.%C $labels.job $labels.instance $labels.interface $labels.queue";

/// The most likely cause, and the owner of the queue. Where the alarm pauses at the moment of the query, the last cause before.
fn why(site: &Parameters) -> String {
    let text = [
        "{{ with printf `topk(1, zcrx_queue_cause_contribution_ratio$matchers) or on () topk(1, ",
        "last_over_time(zcrx_queue_cause_contribution_ratio$matchers[5m]))` $arguments $arguments | query }}",
        "{{ with first . }} Most likely cause: {{ .Labels.cause }}{{ if gt .Value 0.0 }}, which explains ",
        "{{ .Value | humanizePercentage }} of the problem{{ end }}.{{ end }}{{ end }}",
        "{{ with printf `zcrx_queue_info$matchers` $arguments | query }}",
        "{{ with first . }} Owner: process {{ .Labels.pid }}.{{ end }}{{ end }}",
    ]
    .concat();
    look_up(&text, site)
}

/// Fills in the labels of the look-ups in a text.
fn look_up(text: &str, site: &Parameters) -> String {
    site.fill(&text.replace("$matchers", MATCHERS).replace("$arguments", ARGUMENTS))
}

/// One alert as the tables write it. In a query, `%T` stands for the threshold; [`Parameters::fill`] has the others.
struct Row {
    name: &'static str,
    about: About,
    severity: Severity,
    /// How long the query holds before the alert fires, as Prometheus writes durations.
    lasting: &'static str,
    /// How long the alert goes on after the query has ceased to hold.
    keep: &'static str,
    query: &'static str,
    threshold: Option<Threshold>,
    summary: &'static str,
    description: &'static str,
}

/// Kinds of alarm that have an alert.
pub(crate) fn alarms() -> impl Iterator<Item = &'static str> {
    queue::ALARMS.iter().map(|alarm| alarm.label)
}

/// Every alert, in the order of its file.
pub(crate) fn alerts(site: &Parameters) -> Vec<Alert> {
    let mut alerts: Vec<_> = queue::ALARMS.iter().map(|alarm| of_a_queue(alarm, site)).collect();
    alerts.extend(others::OTHERS.iter().map(|row| alert(row, site)));
    alerts
}

fn of_a_queue(row: &queue::Alarm, site: &Parameters) -> Alert {
    Alert {
        name: row.name,
        about: row.about,
        severity: if row.about == About::Symptom { Severity::Critical } else { Severity::Warning },
        lasting: "0s",
        keep: "2m",
        query: format!(
            "increase(zcrx_queue_alarm_seconds_total{{alarm=\"{}\"}}[5m]) > {}",
            row.label,
            site.value(crate::config::ALARM)
        ),
        summary: format!("Queue {QUEUE_NAME} of {{{{ $labels.instance }}}} {}", row.what),
        description: format!(
            "For {{{{ $value | humanizeDuration }}}} of the last 5 minutes {}{}",
            row.description,
            why(site)
        ),
    }
}

fn alert(row: &Row, site: &Parameters) -> Alert {
    let threshold = row.threshold.map_or_else(String::new, |threshold| site.value(threshold));
    let explained = matches!(row.name, "ZcrxQueueStarvationForecast" | "ZcrxQueueStarvesRepeatedly");
    Alert {
        name: row.name,
        about: row.about,
        severity: row.severity,
        lasting: row.lasting,
        keep: row.keep,
        query: site.fill(&row.query.replace("%T", &threshold)),
        summary: row.summary.replace("$queue", QUEUE_NAME),
        description: look_up(row.description, site) + &if explained { why(site) } else { String::new() },
    }
}
