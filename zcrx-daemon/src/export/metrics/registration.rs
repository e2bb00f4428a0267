//! Metrics of registrations of zcrx queues, of any process on the host.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::model::{ProbeSample, Registration};
use crate::observe::errno_label;

impl Subject for ProbeSample {}

const NO_PROBE: &str = "the registration probe is not attached";
const NONE_SEEN: &str = "no registration has been seen";

type Row = Metric<ProbeSample>;

pub(super) static REGISTRATION: &[Row] = &[
    Row::counter(
        "zcrx_registrations_total",
        "Attempts of processes other than zcrxd to register a zcrx queue, since the registration probe was attached.",
        One(|probe| {
            Some(probe.foreign_registrations.as_ref()?.iter().map(|by_errno| by_errno.count).sum::<u64>() as f64)
        }),
    )
    .absent(NO_PROBE),
    Row::counter(
        "zcrx_registration_failures_total",
        "Attempts of processes other than zcrxd to register a zcrx queue that the kernel refused, by errno.",
        Each(&["errno"], |probe, series| {
            for by_errno in probe.foreign_registrations.iter().flatten().filter(|by_errno| by_errno.errno != 0) {
                series.push(&[&errno_label(by_errno.errno)], by_errno.count as f64);
            }
        }),
    )
    .absent("no failure has been seen, or the registration probe is not attached"),
    Row::gauge(
        "zcrx_last_registration_info",
        "The last attempt of a process with CAP_NET_ADMIN to register a zcrx queue: process, queue, errno (none on success). Always 1.",
        Each(&["interface", "ifindex", "queue", "pid", "comm", "errno"], |probe, series| {
            let Some(last) = last(probe) else { return };
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
                ],
                1.0,
            );
        }),
    )
    .absent(NONE_SEEN),
    Row::gauge(
        "zcrx_last_registration_duration_seconds",
        "Time in seconds that the kernel took for the last attempt of a process with CAP_NET_ADMIN to register a zcrx queue.",
        One(|probe| Some(last(probe)?.duration?.as_secs_f64())),
    )
    .absent("no registration has been seen, or only its end was observed"),
];

/// The last attempt of a caller that the kernel lets register. Others may try as often as they like, under any name.
fn last(probe: &ProbeSample) -> Option<&Registration> {
    probe.recent_registrations.iter().rev().find(|registration| !registration.unprivileged)
}
