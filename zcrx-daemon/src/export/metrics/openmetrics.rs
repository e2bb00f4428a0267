//! The same families as OpenMetrics text, for who asks for it.
//!
//! Two things differ from Prometheus text: a counter's family has no `_total`, which only its samples have, and the
//! text says where it ends, so that half a scrape is not taken for a whole one.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Writes the families.
pub(super) fn encode(families: &[MetricFamily]) -> String {
    let mut text = String::new();
    for family in families {
        encode_family(family, &mut text);
    }
    text.push_str("# EOF\n");
    text
}

fn encode_family(family: &MetricFamily, text: &mut String) {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "unknown",
    };
    let full = family.name();
    let name = if kind == "counter" { full.strip_suffix("_total").unwrap_or(full) } else { full };
    // Writing to a String cannot fail.
    let _ = write!(text, "# TYPE {name} {kind}\n# HELP {name} ");
    escape(family.help(), text);
    text.push('\n');
    for metric in family.get_metric() {
        match family.get_field_type() {
            MetricType::COUNTER => {
                sample(text, name, "_total", metric, None, metric.get_counter().get_value());
            }
            MetricType::GAUGE => sample(text, name, "", metric, None, metric.get_gauge().get_value()),
            MetricType::HISTOGRAM => histogram(text, name, metric),
            // No table has these.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
}

fn histogram(text: &mut String, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count() as f64;
    let mut infinite = false;
    for bucket in histogram.get_bucket() {
        let bound = bucket.upper_bound();
        infinite |= bound == f64::INFINITY;
        sample(text, name, "_bucket", metric, Some(bound), bucket.cumulative_count() as f64);
    }
    if !infinite {
        sample(text, name, "_bucket", metric, Some(f64::INFINITY), count);
    }
    sample(text, name, "_sum", metric, None, histogram.get_sample_sum());
    sample(text, name, "_count", metric, None, count);
}

fn sample(text: &mut String, name: &str, suffix: &str, metric: &Metric, bound: Option<f64>, value: f64) {
    text.push_str(name);
    text.push_str(suffix);
    let labels = metric.get_label();
    if !labels.is_empty() || bound.is_some() {
        text.push('{');
        for (index, label) in labels.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            pair(text, label);
        }
        if let Some(bound) = bound {
            let comma = if labels.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}le=\"{}\"", Number { value: bound, whole: ".0" });
        }
        text.push('}');
    }
    let _ = writeln!(text, " {}", Number { value, whole: "" });
}

fn pair(text: &mut String, label: &LabelPair) {
    text.push_str(label.name());
    text.push_str("=\"");
    escape(label.value(), text);
    text.push('"');
}

fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A number as OpenMetrics writes it; bounds of buckets that are whole get a `.0`.
struct Number {
    value: f64,
    whole: &'static str,
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.value.is_nan() {
            f.write_str("NaN")
        } else if self.value.is_infinite() {
            f.write_str(if self.value > 0.0 { "+Inf" } else { "-Inf" })
        } else if self.value.fract() == 0.0 {
            write!(f, "{}{}", self.value, self.whole)
        } else {
            write!(f, "{}", self.value)
        }
    }
}
