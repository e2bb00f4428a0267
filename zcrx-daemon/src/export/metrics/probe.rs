//! Metrics of the probes themselves: the watcher watched.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::model::{MapCost, ProbeSample, ProbeStatus, ProgramCost};

impl Subject for ProbeStatus {
    const LABELS: &'static [&'static str] = &["probe"];

    fn label_values(&self) -> Vec<Option<String>> {
        vec![Some(self.name.clone())]
    }
}

impl Subject for ProgramCost {
    const LABELS: &'static [&'static str] = &["program"];

    fn label_values(&self) -> Vec<Option<String>> {
        vec![Some(self.program.clone())]
    }
}

impl Subject for MapCost {
    const LABELS: &'static [&'static str] = &["map"];

    fn label_values(&self) -> Vec<Option<String>> {
        vec![Some(self.map.clone())]
    }
}

pub(super) static PROBE: &[Metric<ProbeStatus>] = &[Metric::<ProbeStatus>::gauge(
    "zcrx_probe_attached",
    "1 for the mechanism a probe is attached by, 0 for each that was tried and refused.",
    Each(&["mechanism"], |probe, series| {
        if !probe.asked {
            return;
        }
        for refused in &probe.refused {
            series.push(&[refused.mechanism.name()], 0.0);
        }
        match &probe.attached {
            Some((mechanism, _)) => series.push(&[mechanism.name()], 1.0),
            None if probe.refused.is_empty() => series.push(&[""], 0.0),
            None => {}
        }
    }),
)
.absent("probes are switched off, or nobody asked for this one")];

pub(super) static LOSS: &[Metric<ProbeSample>] = &[
    Metric::<ProbeSample>::counter(
        "zcrx_probe_lost_events_total",
        "Events the kernel could not hand over because a buffer was full.",
        One(|probe| probe.lost_events.map(|lost| lost as f64)),
    )
    .absent("no attached probe hands over events"),
    Metric::<ProbeSample>::counter(
        "zcrx_probe_losses_total",
        "The same by what was lost: records that found a buffer full, counts that found a table full.",
        Each(&["loss"], |probe, series| {
            for (loss, &count) in probe.cost.iter().flat_map(|cost| &cost.lost) {
                series.push(&[loss], count as f64);
            }
        }),
    )
    .absent("no probe is attached"),
];

const NO_STATISTICS: &str =
    "the kernel keeps no statistics of programs: probes.statistics is off, or refused";
const NO_PROGRAM: &str = "no probe is attached";

pub(super) static PROGRAM: &[Metric<ProgramCost>] = &[
    Metric::<ProgramCost>::counter(
        "zcrx_probe_runs_total",
        "Runs of an attached program since it was loaded.",
        One(|program| program.runs.map(|(runs, _)| runs as f64)),
    )
    .absent(NO_STATISTICS),
    Metric::<ProgramCost>::counter(
        "zcrx_probe_run_seconds_total",
        "Time that these runs took; what it takes to get there is not in it.",
        One(|program| program.runs.map(|(_, time)| time.as_secs_f64())),
    )
    .absent(NO_STATISTICS),
    Metric::<ProgramCost>::counter(
        "zcrx_probe_missed_runs_total",
        "Runs that the kernel left out, because the program was interrupted by itself or too many calls were under way: \
         what they would have counted is missing.",
        One(|program| program.missed.map(|missed| missed as f64)),
    )
    .absent(NO_PROGRAM),
];

pub(super) static MAP: &[Metric<MapCost>] = &[
    Metric::<MapCost>::gauge(
        "zcrx_probe_map_bytes",
        "Kernel memory that a map of the probes takes.",
        One(|map| map.bytes.map(|bytes| bytes as f64)),
    )
    .absent(NO_PROGRAM),
    Metric::<MapCost>::gauge(
        "zcrx_probe_map_entries",
        "Entries of a map in use.",
        One(|map| map.entries.map(|entries| entries as f64)),
    )
    .absent("the map has no keys"),
    Metric::<MapCost>::gauge(
        "zcrx_probe_map_capacity",
        "Entries that such a map has room for.",
        One(|map| map.entries.map(|_| map.capacity as f64)),
    )
    .absent("the map has no keys"),
];
