//! Metrics of the probes themselves: what is attached, what it costs, what it loses.

use super::table::Read::{Each, One};
use super::table::{LabelValue, Metric, Subject};
use crate::model::{MapCost, ProbeCost, ProbeSample, ProbeStatus, ProgramCost};

impl Subject for ProbeStatus {
    const LABELS: &'static [&'static str] = &["probe"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        [LabelValue::Text(&self.name)]
    }
}

impl Subject for ProgramCost {
    const LABELS: &'static [&'static str] = &["program"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        [LabelValue::Text(&self.program)]
    }
}

impl Subject for MapCost {
    const LABELS: &'static [&'static str] = &["map"];

    fn label_values(&self) -> impl AsRef<[LabelValue<'_>]> {
        [LabelValue::Text(&self.map)]
    }
}

impl Subject for ProbeCost {}

pub(super) static PROBE: &[Metric<ProbeStatus>] = &[Metric::<ProbeStatus>::gauge(
    "zcrxd_probe_info",
    "A probe with its state (attached, not_in_kernel, not_requested, refused, failed) and its mechanism. Always 1.",
    Each(&["state", "mechanism"], |probe, series| {
        let mechanism = probe.attached.as_ref().map_or("", |(mechanism, _)| mechanism.name());
        series.push(&[probe.state().name(), mechanism], 1.0);
    }),
)
.absent("probes are switched off")];

pub(super) static SELF_CHECK: &[Metric<ProbeSample>] = &[Metric::<ProbeSample>::gauge(
    "zcrxd_self_check_passed",
    "Whether zcrxd reads this figure right: 1, or 0 if it contradicts a known queue, netlink or a rule, and is not shown.",
    Each(&["figure"], |probe, series| {
        for figure in probe.self_check.iter().flat_map(|check| &check.figures) {
            if let Some(right) = figure.is_right() {
                series.push(&[&figure.name], f64::from(u8::from(right)));
            }
        }
    }),
)
.absent("no figure was wrong, and zcrxd had no queue to compare with (before Linux 7.1, or without CAP_NET_ADMIN)")
.no_panel("constant while zcrxd runs; the log and `zcrxd check` name both values of a figure that failed")];

pub(super) static LOSS: &[Metric<ProbeSample>] = &[Metric::<ProbeSample>::counter(
    "zcrxd_probe_lost_events_total",
    "Events that the probes lost because a kernel buffer or table was full, by kind. Figures are too low by that many.",
    Each(&["loss"], |probe, series| {
        for (loss, &count) in probe.cost.iter().flat_map(|cost| &cost.lost) {
            series.push(&[loss], count as f64);
        }
    }),
)
.absent("no probe is attached")];

const NO_STATISTICS: &str = "the kernel counts no runs: probes.statistics is off, or was refused";
const NO_PROGRAM: &str = "no probe is attached";

pub(super) static PROGRAM: &[Metric<ProgramCost>] = &[
    Metric::<ProgramCost>::counter(
        "zcrxd_probe_program_runs_total",
        "Runs of a BPF program of zcrxd since it was loaded.",
        One(|program| program.runs.map(|(runs, _)| runs as f64)),
    )
    .absent(NO_STATISTICS),
    Metric::<ProgramCost>::counter(
        "zcrxd_probe_program_run_seconds_total",
        "Time in seconds that a BPF program of zcrxd has run, without the time to enter it.",
        One(|program| program.runs.map(|(_, time)| time.as_secs_f64())),
    )
    .absent(NO_STATISTICS),
    Metric::<ProgramCost>::counter(
        "zcrxd_probe_program_missed_runs_total",
        "Runs of a BPF program of zcrxd that the kernel skipped (recursion, too many calls at once). Figures miss these events.",
        One(|program| program.missed.map(|missed| missed as f64)),
    )
    .absent(NO_PROGRAM),
];

pub(super) static COST: &[Metric<ProbeCost>] = &[
    Metric::<ProbeCost>::gauge(
        "zcrxd_probe_memory_bytes",
        "Kernel memory in bytes of all BPF maps of zcrxd; it is not part of the resident memory of the process.",
        One(|cost| {
            let known: Vec<_> = cost.maps.iter().filter_map(|map| map.bytes).collect();
            (!known.is_empty()).then(|| known.iter().sum::<u64>() as f64)
        }),
    )
    .absent(NO_PROGRAM),
    Metric::<ProbeCost>::gauge(
        "zcrxd_probe_fullest_map_ratio",
        "Share of its capacity that the fullest BPF map of zcrxd uses, 0 to 1. At 1, events are lost.",
        One(|cost| {
            let shares = cost.maps.iter().filter(|map| map.capacity > 0);
            shares.filter_map(|map| Some(map.entries? as f64 / map.capacity as f64)).reduce(f64::max)
        }),
    )
    .absent(NO_PROGRAM),
];

pub(super) static MAP: &[Metric<MapCost>] = &[
    Metric::<MapCost>::gauge(
        "zcrxd_probe_map_memory_bytes",
        "Kernel memory in bytes of a BPF map of zcrxd.",
        One(|map| map.bytes.map(|bytes| bytes as f64)),
    )
    .absent(NO_PROGRAM)
    .on_request()
    .no_panel("on request; zcrxd_probe_memory_bytes has the sum"),
    Metric::<MapCost>::gauge(
        "zcrxd_probe_map_entries",
        "Entries in use of a BPF map of zcrxd.",
        One(|map| map.entries.map(|entries| entries as f64)),
    )
    .absent("the map has no keys")
    .on_request()
    .no_panel("on request; zcrxd_probe_fullest_map_ratio has the fullest map"),
    Metric::<MapCost>::gauge(
        "zcrxd_probe_map_capacity_entries",
        "Capacity of a BPF map of zcrxd, in entries.",
        One(|map| map.entries.map(|_| map.capacity as f64)),
    )
    .absent("the map has no keys")
    .on_request()
    .no_panel("on request; zcrxd_probe_fullest_map_ratio has the fullest map"),
];
