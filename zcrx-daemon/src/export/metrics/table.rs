//! What a row of a metric table is, and how a table becomes metric families.

use prometheus::proto::{MetricFamily, MetricType};

use super::series::Series;
use crate::model::{Histogram, Scale};

/// Counter, gauge or histogram, as Prometheus means them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::COUNTER,
            Self::Gauge => MetricType::GAUGE,
            Self::Histogram => MetricType::HISTOGRAM,
        }
    }
}

/// How a row reads its value from what it is about.
pub(super) enum Read<S> {
    /// One value, or none when it is unknown.
    One(fn(&S) -> Option<f64>),
    /// A value for each combination of these further labels.
    Each(&'static [&'static str], fn(&S, &mut Series<'_>)),
    /// How values are spread, or nothing when it is unknown.
    Spread(&'static Scale, fn(&S) -> Option<Histogram>),
}

/// One row: a metric about things of type `S`.
pub(super) struct Metric<S> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// HELP text: one sentence that says what is counted, and its unit where the name does not.
    pub(super) help: &'static str,
    /// When there is no such series; empty if there always is one.
    pub(super) absent: &'static str,
    pub(super) read: Read<S>,
}

impl<S> Metric<S> {
    pub(super) const fn counter(name: &'static str, help: &'static str, read: Read<S>) -> Self {
        Self { name, kind: Kind::Counter, help, absent: "", read }
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str, read: Read<S>) -> Self {
        Self { name, kind: Kind::Gauge, help, absent: "", read }
    }

    pub(super) const fn histogram(
        name: &'static str,
        help: &'static str,
        scale: &'static Scale,
        read: fn(&S) -> Option<Histogram>,
    ) -> Self {
        Self { name, kind: Kind::Histogram, help, absent: "", read: Read::Spread(scale, read) }
    }

    /// States when the series is absent.
    pub(super) const fn absent(mut self, when: &'static str) -> Self {
        self.absent = when;
        self
    }

    /// Labels that this row adds to those of its subject.
    pub(super) const fn labels(&self) -> &'static [&'static str] {
        match self.read {
            Read::One(_) | Read::Spread(..) => &[],
            Read::Each(labels, _) => labels,
        }
    }
}

/// A thing that metrics are about. Its labels come first in each of its series.
pub(super) trait Subject {
    /// Names of its labels.
    const LABELS: &'static [&'static str];

    /// Their values, in that order; `None` leaves the label out.
    fn label_values(&self) -> Vec<Option<String>>;
}

/// Reads each row of a table for each subject and appends the families that have at least one series.
pub(super) fn collect<S: Subject>(table: &[Metric<S>], subjects: &[S], families: &mut Vec<MetricFamily>) {
    let labels: Vec<_> = subjects.iter().map(S::label_values).collect();
    for metric in table {
        let mut points = Vec::new();
        for (subject, values) in subjects.iter().zip(&labels) {
            let mut series = Series::new(metric.kind, S::LABELS, values, metric.labels(), &mut points);
            match metric.read {
                Read::One(read) => {
                    if let Some(value) = read(subject) {
                        series.push(&[], value);
                    }
                }
                Read::Each(_, read) => read(subject, &mut series),
                Read::Spread(scale, read) => {
                    if let Some(spread) = read(subject) {
                        series.spread(&spread, scale);
                    }
                }
            }
        }
        // The encoder refuses a family without series: an unknown value is an absent metric.
        if points.is_empty() {
            continue;
        }
        let mut family = MetricFamily::default();
        family.set_name(metric.name.to_owned());
        family.set_help(metric.help.to_owned());
        family.set_field_type(metric.kind.metric_type());
        family.set_metric(points);
        families.push(family);
    }
}
