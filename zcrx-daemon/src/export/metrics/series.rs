//! The series of one metric while they are read, where the reader chooses their labels.

use std::ops::Range;

use super::kind::Kind;
use super::subject::SubjectLabels;
use super::text::{LabelValue, labels};

#[cfg(test)]
thread_local! {
    /// Comparisons of one series with another, on this thread.
    pub(super) static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// One series of the metric that is being read.
pub(super) struct Point {
    /// Index of the subject.
    pub(super) subject: usize,
    /// The row's own labels, in [`Points::labels`].
    labels: Range<usize>,
    pub(super) value: f64,
}

/// Series that were read and are not written yet. The buffers are reused from one metric to the next.
#[derive(Default)]
pub(super) struct Points {
    list: Vec<Point>,
    labels: String,
}

impl Points {
    /// Each series, with the end of its labels: `errno="EINVAL"} `, or nothing where the row's own labels have no values.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Point, &str)> {
        self.list.iter().map(|point| (point, &self.labels[point.labels.clone()]))
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.labels.clear();
    }
}

/// Takes the values of one metric about one subject.
pub(super) struct Series<'a> {
    pub(super) kind: Kind,
    pub(super) further: &'static [&'static str],
    pub(super) subjects: &'a SubjectLabels,
    pub(super) subject: usize,
    pub(super) points: &'a mut Points,
}

impl Series<'_> {
    /// Adds a value. `values` are those of the row's own labels, in their order; an empty one leaves the label out,
    /// which Prometheus treats alike.
    ///
    /// Values of one series are merged: counters add up, of gauges the greater stays.
    pub(super) fn push<const N: usize>(&mut self, values: &[&str; N], value: f64) {
        self.push_values(&values.map(LabelValue::Text), value);
    }

    /// Adds a value with labels that are not all text.
    pub(super) fn push_values(&mut self, values: &[LabelValue<'_>], value: f64) {
        debug_assert_eq!(values.len(), self.further.len(), "one value for each label of the row");
        let text = &mut self.points.labels;
        let begin = text.len();
        labels(text, self.further, values);
        if text.len() > begin {
            // The last label needs no comma.
            text.pop();
            text.push_str("} ");
        }
        let point = Point { subject: self.subject, labels: begin..text.len(), value };
        let Some(twin) = self.points.list.iter().position(|other| self.is_twin(other, &point)) else {
            self.points.list.push(point);
            return;
        };
        self.points.labels.truncate(begin);
        let before = &mut self.points.list[twin].value;
        *before = match self.kind {
            Kind::Counter => *before + value,
            Kind::Gauge | Kind::Histogram => before.max(value),
        };
    }

    fn is_twin(&self, one: &Point, other: &Point) -> bool {
        #[cfg(test)]
        COMPARISONS.set(COMPARISONS.get() + 1);
        // Most differ in length: then their text need not be looked at.
        one.labels.len() == other.labels.len()
            && self.points.labels[one.labels.clone()] == self.points.labels[other.labels.clone()]
            && self.subjects.open(one.subject) == self.subjects.open(other.subject)
    }
}
