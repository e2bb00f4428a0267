//! Metrics of what is wrong with queues, of what was, and of what is to be expected.

use std::time::Duration;

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::diagnose::{Past, Report, Sizes, Starvation};
use crate::model::{Cause, QueueKey};

fn labels(key: &QueueKey) -> Vec<Option<String>> {
    vec![key.interface.clone(), Some(key.queue.to_string())]
}

impl Subject for Report {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> Vec<Option<String>> {
        labels(&self.key)
    }
}

impl Subject for Past {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> Vec<Option<String>> {
        labels(&self.key)
    }
}

const CALM: &str = "nothing is wrong";
const UNTOLD: &str = "it cannot be told: too few figures, or watched too short";

pub(super) static NOW: &[Metric<Report>] = &[
    Metric::<Report>::gauge(
        "zcrx_queue_troubled",
        "1 while anything is wrong with the queue, or was until a few seconds ago.",
        One(|report| Some(f64::from(u8::from(report.troubled())))),
    ),
    Metric::<Report>::gauge(
        "zcrx_queue_trouble",
        "What is wrong, 1 for each that holds.",
        Each(&["trouble"], |report, series| {
            for alarm in &report.diagnosis.alarms {
                series.push(&[alarm.trouble.name()], 1.0);
            }
        }),
    )
    .absent(CALM),
    Metric::<Report>::gauge(
        "zcrx_queue_trouble_seconds",
        "How long that has lasted.",
        Each(&["trouble"], |report, series| {
            for alarm in &report.diagnosis.alarms {
                series.push(&[alarm.trouble.name()], report.at.saturating_sub(alarm.since).as_secs_f64());
            }
        }),
    )
    .absent(CALM),
    Metric::<Report>::gauge(
        "zcrx_queue_cause_effect_ratio",
        "How much of the trouble a cause explains, 0 to 1; docs/causes.md tells of each. An unknown cause explains 0.",
        Each(&["cause", "confidence"], |report, series| {
            if !report.troubled() {
                return;
            }
            // During an episode, its diagnosis stands until a surer one is made.
            let diagnosis = report.episode.as_ref().map_or(&report.diagnosis, |episode| &episode.diagnosis);
            for finding in &diagnosis.causes {
                series.push(&[finding.cause.name(), finding.confidence.name()], finding.effect);
            }
            if diagnosis.causes.is_empty() {
                series.push(&[UNKNOWN, ""], 0.0);
            }
        }),
    )
    .absent(CALM),
    Metric::<Report>::gauge(
        "zcrx_queue_time_to_starvation_seconds",
        "When the queue starves if things go on as they do: 0 while it does, +Inf if it does not at this rate.",
        One(|report| {
            Some(match report.forecast.starvation.known()? {
                Starvation::Now => 0.0,
                Starvation::In(time) => time.as_secs_f64(),
                Starvation::NotAtThisRate => f64::INFINITY,
            })
        }),
    )
    .absent(UNTOLD),
    Metric::<Report>::gauge(
        "zcrx_queue_headroom_ratio",
        "Buffers that can still be given out, as a share of the area.",
        One(|report| report.forecast.headroom),
    )
    .absent(UNTOLD),
    Metric::<Report>::gauge(
        "zcrx_queue_hold_seconds",
        "How long user space has a buffer, on average.",
        One(|report| report.forecast.hold_time.map(|time| time.as_secs_f64())),
    )
    .absent("it cannot be told, or nothing was returned of late"),
    Metric::<Report>::gauge(
        "zcrx_queue_recommended_area_buffers",
        "Buffers that an area for this load would have; while packets are lost for want of one, the least.",
        One(|report| sizes(report, |sizes| Some(sizes.area_buffers))),
    )
    .absent(UNTOLD),
    Metric::<Report>::gauge(
        "zcrx_queue_recommended_area_bytes",
        "The same in bytes.",
        One(|report| sizes(report, |sizes| sizes.area_bytes)),
    )
    .absent("it cannot be told, or the size of a buffer is unknown"),
    Metric::<Report>::gauge(
        "zcrx_queue_recommended_refill_entries",
        "Entries that a refill ring for this load would have.",
        One(|report| sizes(report, |sizes| Some(sizes.refill_entries.into()))),
    )
    .absent(UNTOLD),
];

pub(super) static PAST: &[Metric<Past>] = &[
    Metric::<Past>::counter(
        "zcrx_starvation_episodes_total",
        "Episodes of trouble that are over, by the cause that was likeliest in the end.",
        Each(&["cause"], |past, series| {
            // All causes from the start: a counter that appears with its first event shows no increase.
            for cause in Cause::ALL.into_iter().map(Some).chain([None]) {
                let count = past.ended.get(&cause).copied().unwrap_or(0);
                series.push(&[cause.map_or(UNKNOWN, Cause::name)], count as f64);
            }
        }),
    )
    .absent("the queue is gone for five minutes"),
    Metric::<Past>::counter(
        "zcrx_starvation_episode_seconds_total",
        "Time in these episodes.",
        One(|past| Some(past.starved.as_secs_f64())),
    )
    .absent("the queue is gone for five minutes"),
];

const UNKNOWN: &str = "unknown";

pub(super) static AGE: &[Metric<Age>] = &[Metric::<Age>::gauge(
    "zcrx_diagnosis_age_seconds",
    "Time since queues were last looked at for a diagnosis.",
    One(|age| Some(age.0.as_secs_f64())),
)
.absent("zcrxd is still starting")];

/// How old the diagnosis is.
pub(super) struct Age(pub(super) Duration);

impl Subject for Age {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

fn sizes(report: &Report, read: fn(&Sizes) -> Option<u64>) -> Option<f64> {
    read(report.forecast.sizes.known()?).map(|size| size as f64)
}
