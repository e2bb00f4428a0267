//! Writes the metrics of a table about its subjects.

use super::exposition::{Family, Writer};
use super::series::{Points, Series};
use super::subject::SubjectLabels;
use super::table::{Metric, Read, Subject, Visitor};

impl Visitor for Writer<'_> {
    fn table<S: Subject>(&mut self, _title: &str, table: &[Metric<S>], subjects: &[S]) {
        if subjects.is_empty() {
            return;
        }
        let labels = SubjectLabels::of(subjects);
        let distinct = labels.are_distinct();
        let mut about = About { subjects, labels, points: Points::default() };
        for metric in table {
            if !self.wants(metric.name, metric.on_request) {
                continue;
            }
            if distinct {
                about.write(metric, self);
            } else {
                about.write_merged(metric, self);
            }
        }
    }
}

/// What the metrics of one table are about.
struct About<'s, S> {
    subjects: &'s [S],
    labels: SubjectLabels,
    points: Points,
}

impl<S> About<'_, S> {
    /// Writes a metric of subjects with distinct labels: no series can be that of another subject, and each is written once it
    /// is read.
    fn write(&mut self, metric: &Metric<S>, writer: &mut Writer<'_>) {
        let mut family = Family::new(metric.name, metric.kind, metric.help);
        let Self { subjects, labels, .. } = self;
        let subjects = subjects.iter().enumerate();
        match metric.read {
            Read::One(read) => {
                for (index, subject) in subjects {
                    if let Some(value) = read(subject) {
                        writer.sample(&mut family, [labels.closed(index), ""], value);
                    }
                }
            }
            Read::Moment(read) => {
                for (index, subject) in subjects {
                    if let Some(moment) = read(subject) {
                        let value = writer.unix_time(moment);
                        writer.sample(&mut family, [labels.closed(index), ""], value);
                    }
                }
            }
            Read::Kinds([label], kinds, read) => {
                let ends: Vec<_> = kinds().iter().map(|kind| format!("{label}=\"{kind}\"}} ")).collect();
                for (index, subject) in subjects {
                    for (kind, end) in ends.iter().enumerate() {
                        writer.sample(&mut family, [labels.open(index), end], read(subject, kind));
                    }
                }
            }
            Read::Spread(scale, read) => {
                let bounds = writer.bounds(scale);
                for (index, subject) in subjects {
                    if let Some(spread) = read(subject) {
                        let labels = [labels.open(index), labels.closed(index)];
                        writer.histogram(&mut family, labels, &bounds, &spread, scale);
                    }
                }
            }
            Read::Each(_, read) => {
                for (index, subject) in subjects {
                    read(subject, &mut series(metric, index, &self.labels, &mut self.points));
                    write_points(&mut family, &self.labels, &mut self.points, writer);
                }
            }
        }
    }

    /// Writes a metric of subjects some of which have equal labels. They become one series: Prometheus rejects a scrape
    /// with duplicates.
    fn write_merged(&mut self, metric: &Metric<S>, writer: &mut Writer<'_>) {
        let mut family = Family::new(metric.name, metric.kind, metric.help);
        for (index, subject) in self.subjects.iter().enumerate() {
            let mut series = series(metric, index, &self.labels, &mut self.points);
            match metric.read {
                Read::One(read) => {
                    if let Some(value) = read(subject) {
                        series.push(&[], value);
                    }
                }
                Read::Moment(read) => {
                    if let Some(moment) = read(subject) {
                        series.push(&[], writer.unix_time(moment));
                    }
                }
                Read::Kinds(_, kinds, read) => {
                    for (kind, name) in kinds().iter().enumerate() {
                        series.push(&[name], read(subject, kind));
                    }
                }
                // Distributions are not merged: the first stays.
                Read::Spread(scale, read) => {
                    if let Some(spread) = read(subject).filter(|_| self.labels.is_first(index)) {
                        let labels = [self.labels.open(index), self.labels.closed(index)];
                        writer.histogram(&mut family, labels, &writer.bounds(scale), &spread, scale);
                    }
                }
                Read::Each(_, read) => read(subject, &mut series),
            }
        }
        write_points(&mut family, &self.labels, &mut self.points, writer);
    }
}

fn series<'a, S>(
    metric: &Metric<S>,
    subject: usize,
    subjects: &'a SubjectLabels,
    points: &'a mut Points,
) -> Series<'a> {
    Series { kind: metric.kind, further: metric.labels(), subjects, subject, points }
}

/// Writes the series that were read, and forgets them.
fn write_points(family: &mut Family, subjects: &SubjectLabels, points: &mut Points, writer: &mut Writer<'_>) {
    for (point, end) in points.iter() {
        let begin =
            if end.is_empty() { subjects.closed(point.subject) } else { subjects.open(point.subject) };
        writer.sample(family, [begin, end], point.value);
    }
    points.clear();
}
