//! What zcrxd exports, as `docs/metrics.md` says it: a test of the daemon holds that file to the tables that the export
//! is made from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

use xtask_tools::workspace::root;

/// Labels that every scrape adds.
pub(super) const TARGET: [&str; 2] = ["instance", "job"];

/// One metric.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Labels of its own.
    pub labels: BTreeSet<String>,
    /// When there is no such series; empty if there always is one.
    pub absent: String,
}

/// Every metric by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Contract {
    /// In the order of their names.
    pub metrics: BTreeMap<String, Metric>,
}

impl Contract {
    /// Reads the reference.
    pub(super) fn read() -> Result<Self> {
        let path = root().join("docs/metrics.md");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not as expected", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut metrics = BTreeMap::new();
        for line in text.lines().filter(|line| line.starts_with("| `")) {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let mut cell = || cells.next().with_context(|| format!("a row has five cells: {line}"));
            let name = cell()?.trim_matches('`').to_owned();
            let kind = cell()?.to_owned();
            let labels = cell()?.split(',').map(|label| label.trim().trim_matches('`').to_owned());
            let labels = labels.filter(|label| !label.is_empty()).collect();
            let _meaning = cell()?;
            let absent = cells.next().unwrap_or_default().to_owned();
            if metrics.insert(name.clone(), Metric { kind, labels, absent }).is_some() {
                bail!("{name} is there twice");
            }
        }
        if metrics.is_empty() {
            bail!("no metrics in it");
        }
        Ok(Self { metrics })
    }

    /// The metric that a series is of, be it a part of a histogram; with its name.
    pub(super) fn of_series(&self, series: &str) -> Option<(&str, &Metric)> {
        let part = |suffix: &str| {
            let family = series.strip_suffix(suffix)?;
            self.metrics.get_key_value(family).filter(|(_, metric)| metric.kind == "histogram")
        };
        let found = self.metrics.get_key_value(series).filter(|(_, metric)| metric.kind != "histogram");
        let found = found.or_else(|| ["_bucket", "_sum", "_count"].into_iter().find_map(part));
        found.map(|(name, metric)| (name.as_str(), metric))
    }

    /// Labels that a series can have, those of its target included; `None` if nothing exports it.
    pub(super) fn labels(&self, series: &str) -> Option<BTreeSet<String>> {
        let target = TARGET.map(str::to_owned);
        // What Prometheus itself adds.
        let own: &[&str] = match series {
            "up" | "scrape_duration_seconds" | "scrape_samples_scraped" => &[],
            "ALERTS" => {
                &["alertname", "alertstate", "severity", "interface", "queue", "trouble", "probe", "state"]
            }
            _ => {
                let (_, metric) = self.of_series(series)?;
                let bucket = series.ends_with("_bucket").then(|| "le".to_owned());
                return Some(metric.labels.iter().cloned().chain(bucket).chain(target).collect());
            }
        };
        Some(own.iter().map(|&label| label.to_owned()).chain(target).collect())
    }

    /// Whether a series only ever grows, so that a rate is what can be read from it.
    pub(super) fn accumulates(&self, series: &str) -> bool {
        self.of_series(series).is_some_and(|(_, metric)| metric.kind != "gauge")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_are_written() -> Result<()> {
        let contract = Contract::parse(
            "| Name | Type |\n|---|---|\n\
             | `a_total` | counter | `interface`, `queue` | It counts. | never |\n\
             | `b_seconds` | histogram |  | How long. |  |\n",
        )?;
        let counter = &contract.metrics["a_total"];
        assert_eq!((counter.kind.as_str(), counter.absent.as_str()), ("counter", "never"));
        assert_eq!(counter.labels, ["interface", "queue"].map(str::to_owned).into());
        assert!(contract.accumulates("a_total") && contract.accumulates("b_seconds_bucket"));
        assert!(contract.labels("b_seconds_bucket").is_some_and(|labels| labels.contains("le")));
        assert_eq!(contract.labels("b_seconds"), None, "a histogram has no series of its own name");
        assert_eq!(contract.labels("a_total_count"), None);
        Ok(())
    }
}
