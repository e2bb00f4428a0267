//! A row of a metric table, and how rows become text.

use std::time::Duration;

use super::exposition::{Family, Writer};
pub(super) use super::kind::Kind;
use super::series::Series;
use crate::model::{Histogram, Scale};

/// How a row reads its value from its subject.
pub(super) enum Read<S> {
    /// One value; `None` when it is unknown.
    One(fn(&S) -> Option<f64>),
    /// One moment of CLOCK_MONOTONIC; exported as seconds since the Unix epoch.
    Moment(fn(&S) -> Option<Duration>),
    /// One value for each combination of these further labels.
    Each(&'static [&'static str], fn(&S, &mut Series<'_>)),
    /// The distribution of values; `None` when it is unknown.
    Spread(&'static Scale, fn(&S) -> Option<Histogram>),
}

/// Where a dashboard shows a metric whose panel is not written by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Panel {
    /// Name of the dashboard: `queue`, `daemon`, ...
    pub(super) dashboard: &'static str,
    /// Title of the row; the generator adds the panel at its end.
    pub(super) row: &'static str,
    /// Title of the panel.
    pub(super) title: &'static str,
}

/// One row: everything that is declared about one metric.
pub(super) struct Metric<S> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// HELP text. Makes sense without the name: what is counted, the unit, and what a rising value means.
    pub(super) help: &'static str,
    /// When there is no such series; empty if there always is one.
    pub(super) absent: &'static str,
    /// Exported only if a request names the metric (`name[]`): too many series for every scrape.
    pub(super) on_request: bool,
    pub(super) panel: Option<Panel>,
    /// Why no dashboard and no alert reads the metric.
    pub(super) no_panel: Option<&'static str>,
    /// Every value of the metric's own label, where rules must know them all.
    pub(super) values: Option<fn() -> Vec<&'static str>>,
    pub(super) read: Read<S>,
}

impl<S> Metric<S> {
    const fn new(name: &'static str, kind: Kind, help: &'static str, read: Read<S>) -> Self {
        Self {
            name,
            kind,
            help,
            absent: "",
            on_request: false,
            panel: None,
            no_panel: None,
            values: None,
            read,
        }
    }

    pub(super) const fn counter(name: &'static str, help: &'static str, read: Read<S>) -> Self {
        Self::new(name, Kind::Counter, help, read)
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str, read: Read<S>) -> Self {
        Self::new(name, Kind::Gauge, help, read)
    }

    pub(super) const fn histogram(
        name: &'static str,
        help: &'static str,
        scale: &'static Scale,
        read: fn(&S) -> Option<Histogram>,
    ) -> Self {
        Self::new(name, Kind::Histogram, help, Read::Spread(scale, read))
    }

    /// States when the series is absent.
    pub(super) const fn absent(mut self, when: &'static str) -> Self {
        self.absent = when;
        self
    }

    /// Leaves the metric out of scrapes that do not name it.
    pub(super) const fn on_request(mut self) -> Self {
        self.on_request = true;
        self
    }

    /// Has the dashboard generator draw the metric. Rows whose panel is written by hand need nothing.
    pub(super) const fn panel(
        mut self,
        dashboard: &'static str,
        row: &'static str,
        title: &'static str,
    ) -> Self {
        self.panel = Some(Panel { dashboard, row, title });
        self
    }

    /// States why no dashboard and no alert reads the metric.
    pub(super) const fn no_panel(mut self, reason: &'static str) -> Self {
        self.no_panel = Some(reason);
        self
    }

    /// Declares every value of the metric's own label.
    pub(super) const fn values(mut self, values: fn() -> Vec<&'static str>) -> Self {
        self.values = Some(values);
        self
    }

    /// Labels that this row adds to those of its subject.
    pub(super) const fn labels(&self) -> &'static [&'static str] {
        match self.read {
            Read::One(_) | Read::Moment(_) | Read::Spread(..) => &[],
            Read::Each(labels, _) => labels,
        }
    }
}

/// What metrics are about. Its labels come first in each of its series.
pub(super) trait Subject {
    /// Names of its labels.
    const LABELS: &'static [&'static str];

    /// Their values, in that order; `None` leaves the label out.
    fn label_values(&self) -> Vec<Option<String>>;
}

/// Takes table after table: the export writes their values, the reference their declarations.
pub(super) trait Visitor {
    /// `title` is the heading in the reference; an empty one continues the section before.
    fn table<S: Subject>(&mut self, title: &str, table: &[Metric<S>], subjects: &[S]);
}

impl Visitor for Writer<'_> {
    fn table<S: Subject>(&mut self, _title: &str, table: &[Metric<S>], subjects: &[S]) {
        if subjects.is_empty() {
            return;
        }
        let labels: Vec<String> =
            subjects.iter().map(|subject| label_text(S::LABELS, &subject.label_values())).collect();
        // Subjects with equal labels become one series: Prometheus rejects a scrape with duplicates.
        let mut sorted: Vec<&str> = labels.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        let distinct = sorted.windows(2).all(|pair| pair[0] != pair[1]);
        for metric in table {
            if !self.wants(metric.name, metric.on_request) {
                continue;
            }
            let mut family = Family::new(metric.name, metric.kind, metric.help);
            for (index, subject) in subjects.iter().enumerate() {
                let single = match metric.read {
                    Read::One(read) => read(subject),
                    Read::Moment(read) => read(subject).map(|moment| self.unix_time(moment)),
                    Read::Each(..) | Read::Spread(..) => None,
                };
                if let (Some(value), true) = (single, distinct) {
                    self.write_one(&mut family, &labels[index], value);
                    continue;
                }
                let mut series = Series::new(self, metric.kind, metric.labels(), &labels, index, distinct);
                match metric.read {
                    Read::One(_) | Read::Moment(_) => {
                        if let Some(value) = single {
                            series.push(&[], value);
                        }
                    }
                    Read::Each(_, read) => read(subject, &mut series),
                    Read::Spread(scale, read) => {
                        if let Some(spread) = read(subject) {
                            series.spread(spread, scale);
                        }
                    }
                }
                // No other subject has a series like these.
                if distinct {
                    self.write(&mut family, &labels);
                }
            }
            self.write(&mut family, &labels);
        }
    }
}

/// Labels as they stand in a sample that has no others: in braces, and with the space before the value.
fn label_text(names: &[&str], values: &[Option<String>]) -> String {
    let mut text = "{".to_owned();
    for (name, value) in names.iter().zip(values) {
        if let Some(value) = value {
            super::exposition::label(&mut text, name, value);
        }
    }
    if text.pop() == Some(',') {
        text.push('}');
    }
    text.push(' ');
    text
}
