//! What zcrxd exports, as `dashboards/generator/metrics.json` declares it: a test of the daemon holds that file to the tables that
//! the export is made from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use xtask_tools::workspace::root;

/// Labels that every scrape adds.
pub(super) const TARGET: [&str; 3] = ["cluster", "instance", "job"];

/// One metric, as the daemon's tables declare it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Metric {
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `seconds`, `bytes`, `ratio`, or empty.
    pub unit: String,
    /// Labels of its own.
    pub labels: BTreeSet<String>,
    pub help: String,
    /// When there is no such series; empty if there always is one.
    pub absent: String,
    /// Whether only a request by name gets it.
    pub on_request: bool,
    /// Where the generator draws it; `None` if a panel written by hand does.
    pub panel: Option<Place>,
    /// Why no dashboard and no alert reads it.
    pub no_panel: Option<String>,
    /// Every value of the label of its own, where rules must know them all.
    #[serde(default)]
    pub values: BTreeSet<String>,
}

/// Where a panel stands.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Place {
    /// Name of the dashboard.
    pub dashboard: String,
    /// Title of the row.
    pub row: String,
    /// Title of the panel.
    pub title: String,
}

/// Every metric by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Contract {
    /// In the order of their names.
    pub metrics: BTreeMap<String, Metric>,
}

impl Contract {
    /// Reads the declarations.
    pub(super) fn read() -> Result<Self> {
        let path = root().join("dashboards/generator/metrics.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not as expected", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let rows: Vec<Metric> = serde_json::from_str(text)?;
        let mut metrics = BTreeMap::new();
        for row in rows {
            if let Some(twin) = metrics.insert(row.name.clone(), row) {
                bail!("{} is declared twice", twin.name);
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
                &["alertname", "alertstate", "severity", "interface", "queue", "alarm", "probe", "state"]
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
    fn declarations_are_read_and_series_of_histograms_found() -> Result<()> {
        let row = |name: &str, kind: &str, labels: &str| {
            format!(
                r#"{{"name":"{name}","type":"{kind}","unit":"","labels":[{labels}],"help":"A.","absent":"never",
                   "on_request":false,"panel":null,"no_panel":null}}"#
            )
        };
        let counter = row("a_total", "counter", r#""interface","queue""#);
        let contract = Contract::parse(&format!("[{counter},{}]", row("b_seconds", "histogram", "")))?;
        assert_eq!(contract.metrics["a_total"].absent, "never");
        assert_eq!(contract.metrics["a_total"].labels, ["interface", "queue"].map(str::to_owned).into());
        assert!(contract.accumulates("a_total") && contract.accumulates("b_seconds_bucket"));
        assert!(contract.labels("b_seconds_bucket").is_some_and(|labels| labels.contains("le")));
        assert_eq!(contract.labels("b_seconds"), None, "a histogram has no series of its own name");
        assert_eq!(contract.labels("a_total_count"), None);
        assert!(Contract::parse(&format!("[{counter},{counter}]")).is_err(), "declared twice");
        Ok(())
    }
}
