//! Prometheus text and OpenMetrics text, written in one pass.
//!
//! OpenMetrics differs in three things: a counter's family has no `_total` (only its samples have), families have a unit
//! and an `info` type, and the text says where it ends, so that half a scrape is not taken for a whole one.

use std::time::Duration;

use super::kind::{Kind, unit};
use super::text::{bound, escape, number};
use crate::model::{Histogram, Scale};

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

/// A metric whose series are being written.
pub(super) struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// Whether its head is written.
    begun: bool,
}

impl Family {
    pub(super) const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, kind, help, begun: false }
    }
}

/// Writes families one after the other.
pub(super) struct Writer<'a> {
    format: Format,
    /// The metrics to write; empty for all but those on request.
    names: &'a [String],
    /// The Unix time at which CLOCK_MONOTONIC was 0, seconds.
    epoch: f64,
    text: String,
}

impl<'a> Writer<'a> {
    /// `bytes` is the expected size of the text.
    pub(super) fn new(format: Format, names: &'a [String], epoch: f64, bytes: usize) -> Self {
        Self { format, names, epoch, text: String::with_capacity(bytes) }
    }

    /// Whether a metric belongs into this text.
    pub(super) fn wants(&self, name: &str, on_request: bool) -> bool {
        if self.names.is_empty() { !on_request } else { self.names.iter().any(|wanted| wanted == name) }
    }

    /// The text of all families.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// Writes a sample of a family, and before the first one the family's head. No samples, no family: an unknown value is an
    /// absent metric. The labels are in two parts that are written one after the other.
    pub(super) fn sample(&mut self, family: &mut Family, labels: [&str; 2], value: f64) {
        if !family.begun {
            self.head(family);
        }
        self.line(family.name, "", labels, value);
    }

    /// Writes the samples of a histogram. `open` are the subject's labels for buckets, `closed` those for sum and count,
    /// `bounds` the ends of the buckets' labels.
    pub(super) fn histogram(
        &mut self,
        family: &mut Family,
        [open, closed]: [&str; 2],
        bounds: &[String],
        histogram: &Histogram,
        scale: &Scale,
    ) {
        if !family.begun {
            self.head(family);
        }
        let count = histogram.count();
        let counts = histogram.cumulative(scale).map(|(_, count)| count).chain([count]);
        for (bound, count) in bounds.iter().zip(counts) {
            self.line(family.name, "_bucket", [open, bound], count as f64);
        }
        self.line(family.name, "_sum", [closed, ""], histogram.sum(scale));
        self.line(family.name, "_count", [closed, ""], count as f64);
    }

    /// The ends of the labels of a histogram's buckets: `le="0.5"} `.
    pub(super) fn bounds(&self, scale: &Scale) -> Vec<String> {
        let bounds = Histogram::default();
        let bounds = bounds.cumulative(scale).map(|(bound, _)| bound).chain([f64::INFINITY]);
        let end = |value| {
            let mut text = "le=\"".to_owned();
            bound(&mut text, value, self.format == Format::OpenMetrics);
            text.push_str("\"} ");
            text
        };
        bounds.map(end).collect()
    }

    /// A moment of CLOCK_MONOTONIC as seconds since the Unix epoch. Milliseconds: two clocks are read one after the other, and finer
    /// digits would change with each scrape.
    pub(super) fn unix_time(&self, moment: Duration) -> f64 {
        ((self.epoch + moment.as_secs_f64()) * 1000.0).round() / 1000.0
    }

    fn head(&mut self, family: &mut Family) {
        family.begun = true;
        let name = family.name;
        let (shown, kind) = match (self.format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            (Format::OpenMetrics, Kind::Gauge) if name.ends_with("_info") => {
                (name.strip_suffix("_info").unwrap_or(name), "info")
            }
            (_, kind) => (name, kind.name()),
        };
        self.push(["# TYPE ", shown, " ", kind, "\n"]);
        if self.format == Format::OpenMetrics {
            let unit = unit(name);
            if !unit.is_empty() {
                self.push(["# UNIT ", shown, " ", unit, "\n"]);
            }
        }
        self.push(["# HELP ", shown, " "]);
        escape(family.help, self.format == Format::OpenMetrics, &mut self.text);
        self.text.push('\n');
    }

    fn line(&mut self, name: &str, suffix: &str, [begin, end]: [&str; 2], value: f64) {
        self.push([name, suffix, begin, end]);
        number(&mut self.text, value);
        self.text.push('\n');
    }

    fn push<const N: usize>(&mut self, parts: [&str; N]) {
        for part in parts {
            if !part.is_empty() {
                self.text.push_str(part);
            }
        }
    }
}
