//! Metrics of the diagnosis: alarms, causes and the forecast of each queue, and what was counted of past ones.

use super::queue::labels;
use super::table::Read::{Each, Kinds, Moment, One};
use super::table::{LabelValue, Metric, Subject};
use crate::diagnose::{HostOutlook, Outlook, Past, Sizes, Starvation};
use crate::model::{Cause, Confidence, Trouble};

impl Subject for Outlook {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        labels(&self.key)
    }
}

impl Subject for Past {
    const LABELS: &'static [&'static str] = &["interface", "queue"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        labels(&self.key)
    }
}

impl Subject for HostOutlook {}

const NO_ALARM: &str = "the queue has no alarm";
const NO_FORECAST: &str = "too few figures are known, or the queue has not been observed for long enough";
const GONE: &str = "the queue has been gone for five minutes";

pub(super) static NOW: &[Metric<Outlook>] = &[
    Metric::<Outlook>::gauge(
        "zcrx_queue_episode_active",
        "1 during an episode, from the first alarm until the queue has had no alarm for a few seconds, else 0.",
        One(|outlook| Some(f64::from(u8::from(outlook.troubled())))),
    ),
    Metric::<Outlook>::gauge(
        "zcrx_queue_alarm",
        "Alarms that the queue has now, by kind; always 1.",
        Each(&["alarm"], |outlook, series| {
            for alarm in &outlook.diagnosis.alarms {
                series.push(&[alarm.trouble.name()], 1.0);
            }
        }),
    )
    .absent(NO_ALARM),
    Metric::<Outlook>::gauge(
        "zcrx_queue_alarm_duration_seconds",
        "Time in seconds since the alarm began.",
        Each(&["alarm"], |outlook, series| {
            for alarm in &outlook.diagnosis.alarms {
                series.push(&[alarm.trouble.name()], outlook.at.saturating_sub(alarm.since).as_secs_f64());
            }
        }),
    )
    .absent(NO_ALARM),
    Metric::<Outlook>::gauge(
        "zcrx_queue_cause_contribution_ratio",
        "Share of the problem that a cause explains, 0 to 1, by cause; docs/causes.md describes each cause.",
        Each(&["cause"], |outlook, series| {
            let Some(diagnosis) = during_alarm(outlook) else { return };
            for finding in &diagnosis.causes {
                series.push(&[finding.cause.name()], finding.effect);
            }
            if diagnosis.causes.is_empty() {
                series.push(&[UNKNOWN], 0.0);
            }
        }),
    )
    .absent(NO_ALARM),
    Metric::<Outlook>::gauge(
        "zcrx_queue_cause_confidence",
        "Confidence in a cause: 1 is low, 2 is medium, 3 is high.",
        Each(&["cause"], |outlook, series| {
            let Some(diagnosis) = during_alarm(outlook) else { return };
            for finding in &diagnosis.causes {
                let confidence = match finding.confidence {
                    Confidence::Low => 1.0,
                    Confidence::Medium => 2.0,
                    Confidence::High => 3.0,
                };
                series.push(&[finding.cause.name()], confidence);
            }
        }),
    )
    .absent("the queue has no alarm, or its cause is unknown")
    .panel("queue", "What it is, and how it is", "Confidence in causes"),
    Metric::<Outlook>::gauge(
        "zcrx_queue_time_to_starvation_seconds",
        "Forecast of the time in seconds until the queue starves at the present rates: 0 while starved, +Inf if it will not.",
        One(|outlook| {
            Some(match outlook.forecast.starvation.known()? {
                Starvation::Now => 0.0,
                Starvation::In(time) => time.as_secs_f64(),
                Starvation::NotAtThisRate => f64::INFINITY,
            })
        }),
    )
    .absent(NO_FORECAST),
    Metric::<Outlook>::gauge(
        "zcrx_queue_headroom_ratio",
        "Allocatable buffers as a share of the area, 0 to 1. At 0 the queue is starved.",
        One(|outlook| outlook.forecast.headroom),
    )
    .absent(NO_FORECAST),
    Metric::<Outlook>::gauge(
        "zcrx_queue_mean_hold_seconds",
        "Mean time in seconds that user space holds a buffer.",
        One(|outlook| outlook.forecast.hold_time.map(|time| time.as_secs_f64())),
    )
    .absent("too few figures are known, or no buffer was returned recently"),
    Metric::<Outlook>::gauge(
        "zcrx_queue_recommended_area_buffers",
        "Buffers that an area for the present load needs. While packets are lost, at least that many.",
        One(|outlook| sizes(outlook, |sizes| Some(sizes.area_buffers))),
    )
    .absent(NO_FORECAST),
    Metric::<Outlook>::gauge(
        "zcrx_queue_recommended_area_bytes",
        "Size in bytes of an area for the present load. While packets are lost, at least that size.",
        One(|outlook| sizes(outlook, |sizes| sizes.area_bytes)),
    )
    .absent("there is no forecast, or the size of a buffer is unknown"),
    Metric::<Outlook>::gauge(
        "zcrx_queue_recommended_refill_entries",
        "Entries that a refill ring for the present load needs.",
        One(|outlook| sizes(outlook, |sizes| Some(sizes.refill_entries.into()))),
    )
    .absent(NO_FORECAST),
];

pub(super) static PAST: &[Metric<Past>] = &[
    Metric::<Past>::counter(
        "zcrx_queue_alarm_seconds_total",
        "Time in seconds that the queue has had an alarm, by kind, the current alarm included.",
        // All kinds from the start: a counter that appears with its first event shows no increase.
        Kinds(&["alarm"], alarms, |past, kind| {
            past.alarmed.get(&Trouble::ALL[kind]).copied().unwrap_or_default().as_secs_f64()
        }),
    )
    .values(alarms)
    .absent(GONE),
    Metric::<Past>::counter(
        "zcrx_queue_episodes_total",
        "Episodes of alarms that ended, by the cause that was the most likely one at the end.",
        // As above. What follows all causes is the unknown one.
        Kinds(&["cause"], causes, |past, kind| {
            past.ended.get(&Cause::ALL.get(kind).copied()).copied().unwrap_or(0) as f64
        }),
    )
    .absent(GONE),
    Metric::<Past>::counter(
        "zcrx_queue_episode_seconds_total",
        "Time in seconds that the queue has spent in episodes of alarms, the current episode included.",
        One(|past| Some(past.in_episodes().as_secs_f64())),
    )
    .absent(GONE),
];

const UNKNOWN: &str = "unknown";

fn alarms() -> Vec<&'static str> {
    Trouble::ALL.map(Trouble::name).to_vec()
}

fn causes() -> Vec<&'static str> {
    Cause::ALL.map(Cause::name).into_iter().chain([UNKNOWN]).collect()
}

pub(super) static AGE: &[Metric<HostOutlook>] = &[Metric::<HostOutlook>::gauge(
    "zcrxd_diagnosis_timestamp_seconds",
    "Unix time in seconds of the last diagnosis. A time that does not advance means that queues are not observed.",
    Moment(|host| host.at),
)
.absent("zcrxd is still starting")];

/// The diagnosis that explains the present alarms or, during an episode, the surest one since it began.
fn during_alarm(outlook: &Outlook) -> Option<&crate::model::Diagnosis> {
    let diagnosis = outlook.episode.as_ref().map_or(&outlook.diagnosis, |episode| &episode.diagnosis);
    outlook.troubled().then_some(diagnosis)
}

fn sizes(outlook: &Outlook, read: fn(&Sizes) -> Option<u64>) -> Option<f64> {
    read(outlook.forecast.sizes.known()?).map(|size| size as f64)
}
