//! The series of one metric while they are being read.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric};

use super::table::Kind;
use crate::model;

/// Takes the values of one metric about one subject.
pub(super) struct Series<'a> {
    kind: Kind,
    subject: Vec<LabelPair>,
    further: &'static [&'static str],
    points: &'a mut Vec<Metric>,
}

impl<'a> Series<'a> {
    pub(super) fn new(
        kind: Kind,
        names: &[&'static str],
        values: &[Option<String>],
        further: &'static [&'static str],
        points: &'a mut Vec<Metric>,
    ) -> Self {
        let subject = names
            .iter()
            .zip(values)
            .filter_map(|(name, value)| Some(pair(name, value.as_deref()?)))
            .collect();
        Self { kind, subject, further, points }
    }

    /// Adds a value; `values` are those of the row's own labels, in their order, and an empty one leaves the
    /// label out (to Prometheus both are the same).
    ///
    /// Subjects that their labels cannot tell apart (two pools whose id could not be read) become one series:
    /// a scrape with a duplicate would be refused whole. Counters add up, of gauges the greater stays.
    pub(super) fn push(&mut self, values: &[&str], value: f64) {
        debug_assert_eq!(values.len(), self.further.len(), "one value for each label of the row");
        let mut labels = self.subject.clone();
        labels.extend(
            self.further
                .iter()
                .zip(values)
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| pair(name, value)),
        );
        if let Some(twin) = self.points.iter_mut().find(|point| point.get_label() == labels) {
            match self.kind {
                Kind::Counter => set(twin, self.kind, twin.get_counter().get_value() + value),
                Kind::Gauge => set(twin, self.kind, twin.get_gauge().get_value().max(value)),
                Kind::Histogram => {}
            }
            return;
        }
        let mut point = Metric::from_label(labels);
        set(&mut point, self.kind, value);
        self.points.push(point);
    }

    /// Adds how values are spread. Subjects of such rows have labels that tell them apart.
    pub(super) fn spread(&mut self, spread: &model::Histogram, scale: &model::Scale) {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(spread.count());
        histogram.set_sample_sum(spread.sum(scale));
        let buckets = spread.cumulative(scale).map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        let mut point = Metric::from_label(self.subject.clone());
        point.set_histogram(histogram);
        self.points.push(point);
    }
}

fn set(point: &mut Metric, kind: Kind, value: f64) {
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            point.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            point.set_gauge(gauge);
        }
        // Made whole by `spread`.
        Kind::Histogram => {}
    }
}

fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
