//! Prometheus text and OpenMetrics text, written in one pass.
//!
//! OpenMetrics differs in three things: a counter's family has no `_total` (only its samples have), families have a unit
//! and an `info` type, and the text says where it ends, so that half a scrape is not taken for a whole one.

use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use super::kind::{Kind, unit};
use crate::model::{Histogram, Scale};

/// How a scrape is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Text,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

/// One series of the metric that is being read.
pub(super) struct Point {
    /// Index of the subject.
    pub(super) subject: usize,
    /// The row's own labels, in [`Writer::labels`].
    pub(super) labels: Range<usize>,
    pub(super) value: Value,
}

pub(super) enum Value {
    Number(f64),
    /// Apart, since few points have one: all would be as large.
    Spread(Box<Histogram>, &'static Scale),
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

/// Writes families one after the other. Its buffers are reused from one metric to the next: the cost of a scrape is
/// that of its text.
pub(super) struct Writer<'a> {
    format: Format,
    /// The metrics to write; empty for all but those on request.
    names: &'a [String],
    /// The Unix time at which CLOCK_MONOTONIC was 0, seconds.
    epoch: f64,
    pub(super) points: Vec<Point>,
    pub(super) labels: String,
    text: String,
}

impl<'a> Writer<'a> {
    pub(super) fn new(format: Format, names: &'a [String], epoch: f64) -> Self {
        Self { format, names, epoch, points: Vec::new(), labels: String::new(), text: String::new() }
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

    /// Writes the points that were read, as part of a family. No points, no family: an unknown value is an absent metric.
    pub(super) fn write(&mut self, family: &mut Family, subjects: &[String]) {
        if self.points.is_empty() {
            return;
        }
        let (points, labels) = (std::mem::take(&mut self.points), std::mem::take(&mut self.labels));
        let name = family.name;
        if !family.begun {
            self.head(name, family.kind, family.help);
            family.begun = true;
        }
        for point in &points {
            let labels = [subjects[point.subject].as_str(), &labels[point.labels.clone()]];
            match &point.value {
                Value::Number(value) => self.sample(name, "", labels, None, *value),
                Value::Spread(spread, scale) => self.histogram(name, labels, spread, scale),
            }
        }
        (self.points, self.labels) = (points, labels);
        self.points.clear();
        self.labels.clear();
    }

    /// Writes the only sample that a family has of a subject, whose labels come with their braces.
    pub(super) fn write_one(&mut self, family: &mut Family, labels: &str, value: f64) {
        if !family.begun {
            self.head(family.name, family.kind, family.help);
            family.begun = true;
        }
        self.text.push_str(family.name);
        self.text.push_str(labels);
        number(&mut self.text, value, false);
        self.text.push('\n');
    }

    /// A moment of CLOCK_MONOTONIC as seconds since the Unix epoch. Milliseconds: two clocks are read one after the other, and finer
    /// digits would change with each scrape.
    pub(super) fn unix_time(&self, moment: Duration) -> f64 {
        ((self.epoch + moment.as_secs_f64()) * 1000.0).round() / 1000.0
    }

    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let text = &mut self.text;
        let (family, kind) = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => (name.strip_suffix("_total").unwrap_or(name), "counter"),
            (Format::OpenMetrics, Kind::Gauge) if name.ends_with("_info") => {
                (name.strip_suffix("_info").unwrap_or(name), "info")
            }
            (_, kind) => (name, kind.name()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# TYPE {family} {kind}");
        if self.format == Format::OpenMetrics {
            let unit = unit(name);
            if !unit.is_empty() {
                let _ = writeln!(text, "# UNIT {family} {unit}");
            }
        }
        let _ = write!(text, "# HELP {family} ");
        escape(help, self.format == Format::OpenMetrics, text);
        text.push('\n');
    }

    fn histogram(&mut self, name: &str, labels: [&str; 2], histogram: &Histogram, scale: &Scale) {
        for (bound, count) in histogram.cumulative(scale) {
            self.sample(name, "_bucket", labels, Some(bound), count as f64);
        }
        let count = histogram.count() as f64;
        self.sample(name, "_bucket", labels, Some(f64::INFINITY), count);
        self.sample(name, "_sum", labels, None, histogram.sum(scale));
        self.sample(name, "_count", labels, None, count);
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: [&str; 2], bound: Option<f64>, value: f64) {
        let whole = self.format == Format::OpenMetrics;
        let text = &mut self.text;
        text.push_str(name);
        if !suffix.is_empty() {
            text.push_str(suffix);
        }
        let [subject, further] = labels;
        if bound.is_none() && further.is_empty() {
            text.push_str(subject);
        } else {
            text.push('{');
            if let Some(labels) = subject.strip_prefix('{').and_then(|labels| labels.strip_suffix("} ")) {
                text.push_str(labels);
                text.push(',');
            }
            text.push_str(further);
            if let Some(bound) = bound {
                text.push_str("le=\"");
                number(text, bound, whole);
                text.push('"');
            } else {
                // Each label ends with a comma; the last one needs none.
                text.pop();
            }
            text.push_str("} ");
        }
        number(text, value, false);
        text.push('\n');
    }
}

/// Appends `name="value",`.
pub(super) fn label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    escape(value, true, text);
    text.push_str("\",");
}

fn escape(value: &str, quotes: bool, text: &mut String) {
    if !value.bytes().any(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' if quotes => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Appends a number; `whole` gives a bound without a fraction the `.0` that OpenMetrics wants.
fn number(text: &mut String, value: f64, whole: bool) {
    /// Up to here, every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    // Writing to a String cannot fail.
    if value.is_nan() {
        text.push_str("NaN");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if value.fract() == 0.0 && value.abs() < EXACT {
        // Most values are whole, and `write!` takes several times as long.
        text.push_str(itoa::Buffer::new().format(value as i64));
        if whole {
            text.push_str(".0");
        }
    } else {
        let _ = write!(text, "{value}");
    }
}
