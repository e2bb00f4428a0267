//! Metrics of interface queue registrations, of any process on the host.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::model::ProbeSample;
use crate::observe::errno_label;

impl Subject for ProbeSample {
    const LABELS: &'static [&'static str] = &[];

    fn label_values(&self) -> Vec<Option<String>> {
        Vec::new()
    }
}

const NO_PROBE: &str = "the registration probe is not attached";
const NONE_SEEN: &str = "no registration seen yet";

type Row = Metric<ProbeSample>;

pub(super) static REGISTRATION: &[Row] = &[
    Row::counter(
        "zcrx_registrations_total",
        "Attempts of any process to register an interface queue, since the probe was attached.",
        One(|probe| {
            Some(probe.registrations.as_ref()?.iter().map(|by_errno| by_errno.count).sum::<u64>() as f64)
        }),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_registration_failures_total",
        "Of these, attempts that the kernel refused.",
        Each(&["errno"], |probe, series| {
            for by_errno in probe.registrations.iter().flatten().filter(|by_errno| by_errno.errno != 0) {
                series.push(&[&errno_label(by_errno.errno)], by_errno.count as f64);
            }
        }),
    )
    .absent("no failure seen yet, or the registration probe is not attached"),
    Row::gauge(
        "zcrx_registration_last_info",
        "The last attempt: who asked for what and how it ended (errno left out on success; words are the kernel's own, where \
         it said any), always 1.",
        Each(&["interface", "ifindex", "queue", "pid", "comm", "errno", "words"], |probe, series| {
            let Some(last) = probe.recent_registrations.last() else { return };
            let text = |number: Option<u32>| number.map(|number| number.to_string()).unwrap_or_default();
            let errno = if last.errno == 0 { String::new() } else { errno_label(last.errno) };
            series.push(
                &[
                    last.interface.as_deref().unwrap_or_default(),
                    &text(last.ifindex),
                    &text(last.queue),
                    &last.pid.to_string(),
                    &last.comm,
                    &errno,
                    last.words.as_deref().unwrap_or_default(),
                ],
                1.0,
            );
        }),
    )
    .absent(NONE_SEEN),
    Row::gauge(
        "zcrx_registration_last_duration_seconds",
        "How long the kernel took over the last attempt.",
        One(|probe| Some(probe.recent_registrations.last()?.duration?.as_secs_f64())),
    )
    .absent("no registration seen yet, or only one end of it is probed"),
];
