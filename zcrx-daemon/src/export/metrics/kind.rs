//! What kind of values a metric has, and in which unit.

/// Counter, gauge or histogram, as Prometheus defines them.
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
}

/// The base unit that a metric's name ends with, as OpenMetrics writes it; empty if it has none.
pub(super) fn unit(name: &str) -> &'static str {
    let family = name.strip_suffix("_total").unwrap_or(name);
    ["seconds", "bytes", "ratio"]
        .into_iter()
        .find(|unit| family.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')))
        .unwrap_or("")
}
