//! The series of one metric while they are read.

use super::exposition::{Point, Value, Writer, label};
use super::kind::Kind;
use crate::model::{Histogram, Scale};

#[cfg(test)]
thread_local! {
    /// Comparisons of one series with another, on this thread.
    pub(super) static COMPARISONS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Takes the values of one metric about one subject.
pub(super) struct Series<'a> {
    kind: Kind,
    further: &'static [&'static str],
    subjects: &'a [String],
    subject: usize,
    /// Whether no other subject has the same labels.
    distinct: bool,
    /// First point that can be the same series as a new one.
    from: usize,
    points: &'a mut Vec<Point>,
    labels: &'a mut String,
}

impl<'a> Series<'a> {
    /// `distinct`: no two subjects have the same labels.
    pub(super) fn new(
        writer: &'a mut Writer<'_>,
        kind: Kind,
        further: &'static [&'static str],
        subjects: &'a [String],
        subject: usize,
        distinct: bool,
    ) -> Self {
        let from = if distinct { writer.points.len() } else { 0 };
        let Writer { points, labels, .. } = writer;
        Self { kind, further, subjects, subject, distinct, from, points, labels }
    }

    /// Adds a value. `values` are those of the row's own labels, in their order; an empty one leaves the label out,
    /// which Prometheus treats alike.
    ///
    /// Values of one series are merged: counters add up, of gauges the greater stays.
    pub(super) fn push(&mut self, values: &[&str], value: f64) {
        debug_assert_eq!(values.len(), self.further.len(), "one value for each label of the row");
        let begin = self.labels.len();
        for (name, value) in self.further.iter().zip(values) {
            if !value.is_empty() {
                label(self.labels, name, value);
            }
        }
        let point =
            Point { subject: self.subject, labels: begin..self.labels.len(), value: Value::Number(value) };
        let Some(twin) =
            (self.from..self.points.len()).find(|&index| self.is_twin(&self.points[index], &point))
        else {
            self.points.push(point);
            return;
        };
        self.labels.truncate(begin);
        if let Value::Number(before) = &mut self.points[twin].value {
            *before = match self.kind {
                Kind::Counter => *before + value,
                Kind::Gauge | Kind::Histogram => before.max(value),
            };
        }
    }

    /// Adds the value of one of the kinds that this program distinguishes, for a row with one label of its own. Each kind comes once, and
    /// its name has no character to escape: neither need be looked for.
    pub(super) fn push_kind(&mut self, kind: &'static str, value: f64) {
        debug_assert!(kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{kind}");
        let ([name], true) = (self.further, self.distinct) else {
            self.push(&[kind], value);
            return;
        };
        let begin = self.labels.len();
        for part in [name, "=\"", kind, "\","] {
            self.labels.push_str(part);
        }
        let labels = begin..self.labels.len();
        self.points.push(Point { subject: self.subject, labels, value: Value::Number(value) });
    }

    /// Adds a distribution. Subjects of such rows have distinct labels; of two that have not, the first stays.
    pub(super) fn spread(&mut self, spread: Histogram, scale: &'static Scale) {
        let begin = self.labels.len();
        let point = Point {
            subject: self.subject,
            labels: begin..begin,
            value: Value::Spread(Box::new(spread), scale),
        };
        if !self.points[self.from..].iter().any(|other| self.is_twin(other, &point)) {
            self.points.push(point);
        }
    }

    fn is_twin(&self, one: &Point, other: &Point) -> bool {
        #[cfg(test)]
        COMPARISONS.set(COMPARISONS.get() + 1);
        // Most differ in length: then their text need not be looked at.
        one.labels.len() == other.labels.len()
            && self.labels[one.labels.clone()] == self.labels[other.labels.clone()]
            && self.subjects[one.subject] == self.subjects[other.subject]
    }
}
