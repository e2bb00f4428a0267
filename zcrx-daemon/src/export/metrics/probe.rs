//! Metrics of the probes themselves: the watcher watched.

use super::table::Read::{Each, One};
use super::table::{Metric, Subject};
use crate::model::{ProbeSample, ProbeStatus};

impl Subject for ProbeStatus {
    const LABELS: &'static [&'static str] = &["probe"];

    fn label_values(&self) -> Vec<Option<String>> {
        vec![Some(self.name.clone())]
    }
}

pub(super) static PROBE: &[Metric<ProbeStatus>] = &[Metric::<ProbeStatus>::gauge(
    "zcrx_probe_attached",
    "1 for the mechanism a probe is attached by, 0 for each that was tried and refused.",
    Each(&["mechanism"], |probe, series| {
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
.absent("probes are switched off")];

pub(super) static LOSS: &[Metric<ProbeSample>] = &[Metric::<ProbeSample>::counter(
    "zcrx_probe_lost_events_total",
    "Events the kernel could not hand over because a buffer was full.",
    One(|probe| probe.lost_events.map(|lost| lost as f64)),
)
.absent("no attached probe hands over events")];
