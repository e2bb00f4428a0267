//! A row of a metric table.

use std::time::Duration;

pub(super) use super::kind::Kind;
use super::series::Series;
pub(super) use super::subject::Subject;
pub(super) use super::text::LabelValue;
use crate::model::{Histogram, Scale};

/// How a row reads its value from its subject.
pub(super) enum Read<S> {
    /// One value; `None` when it is unknown.
    One(fn(&S) -> Option<f64>),
    /// One moment of CLOCK_MONOTONIC; exported as seconds since the Unix epoch.
    Moment(fn(&S) -> Option<Duration>),
    /// One value for each combination of these further labels.
    Each(&'static [&'static str], fn(&S, &mut Series<'_>)),
    /// One value for each value of this further label, which are always the same and have nothing to escape. The function gets the
    /// index of the label's value.
    Kinds(&'static [&'static str; 1], fn() -> Vec<&'static str>, fn(&S, usize) -> f64),
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
            Read::Kinds(label, ..) => label,
        }
    }
}

/// Takes table after table: the export writes their values, the reference their declarations.
pub(super) trait Visitor {
    /// `title` is the heading in the reference; an empty one continues the section before.
    fn table<S: Subject>(&mut self, title: &str, table: &[Metric<S>], subjects: &[S]);
}
