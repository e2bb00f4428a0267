//! Every query, for tests that run them.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::config::Parameters;
use super::contract::Contract;
use super::promql::{Recorded, analyse};
use super::{dashboard, rules};

/// What stands for the variables. The defaults fit any server.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Matches the job
    #[arg(long, value_name = "REGEX", default_value = ".+")]
    job: String,
    /// Matches the instance
    #[arg(long, value_name = "REGEX", default_value = ".+")]
    instance: String,
    /// Matches the interface, be there none
    #[arg(long, value_name = "REGEX", default_value = ".*")]
    interface: String,
    /// Matches the queue
    #[arg(long, value_name = "REGEX", default_value = ".*")]
    queue: String,
    /// What rates look back over: at least four scrapes
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    rate_interval: String,
    /// What a dashboard looks back over
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    range: String,
}

impl Options {
    /// Those of the command line without options.
    pub(super) fn defaults() -> Self {
        let any = ".+".to_owned();
        let or_none = ".*".to_owned();
        Self {
            job: any.clone(),
            instance: any,
            interface: or_none.clone(),
            queue: or_none,
            rate_interval: "1m".to_owned(),
            range: "1h".to_owned(),
        }
    }

    /// A query as Grafana would send it.
    pub(super) fn fill(&self, query: &str) -> String {
        // Longer names first: one begins like another.
        [
            ("$__rate_interval", &self.rate_interval),
            ("$__range", &self.range),
            ("$interface", &self.interface),
            ("$instance", &self.instance),
            ("$queue", &self.queue),
            ("$job", &self.job),
        ]
        .iter()
        .fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value))
    }
}

/// One query.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Listed {
    /// The file it stands in, in the repository.
    pub file: String,
    /// The panel, alert or recorded series.
    pub place: String,
    /// The query itself.
    pub query: String,
    /// Metrics that may have no series, and when: an answer may be empty for that reason.
    pub absent_when: Vec<String>,
}

/// Every query of every panel and rule.
pub(super) fn all(options: &Options) -> Result<Vec<Listed>> {
    let contract = Contract::read()?;
    let recorded = rules::recorded(&contract)?;
    let mut listed = Vec::new();
    let mut add = |file: &str, place: String, query: &str| -> Result<()> {
        let query = options.fill(query);
        let absent_when = absences(&query, &contract, &recorded)?;
        listed.push(Listed { file: file.to_owned(), place, query, absent_when });
        Ok(())
    };
    let site = Parameters::default();
    for rule in rules::state(&site).into_iter().chain(rules::recordings(&site)) {
        add("deploy/prometheus/recording.yml", rule.name.to_owned(), &rule.query)?;
    }
    for alert in rules::alerts(&site) {
        add("deploy/prometheus/alerts.yml", alert.name.to_owned(), &alert.query)?;
    }
    for dashboard in dashboard::all() {
        let file = format!("dashboards/{}.json", dashboard.name);
        for row in &dashboard.rows {
            for panel in &row.panels {
                for target in &panel.targets {
                    add(&file, format!("{} / {}", row.title, panel.title), &target.query)?;
                }
            }
        }
    }
    Ok(listed)
}

/// All of them, an object a line.
pub(super) fn lines(options: &Options) -> Result<String> {
    let lines = all(options)?.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n") + "\n")
}

/// Prints them.
pub(super) fn list(options: &Options) -> Result<()> {
    print!("{}", lines(options)?);
    Ok(())
}

fn absences(query: &str, contract: &Contract, recorded: &Recorded) -> Result<Vec<String>> {
    let selectors = analyse(query, contract, recorded)?.selectors;
    let absences: BTreeSet<_> = selectors
        .iter()
        .filter_map(|selector| contract.of_series(&selector.series))
        .filter(|(_, metric)| !metric.absent.is_empty())
        .map(|(name, metric)| format!("{name}: {}", metric.absent))
        .collect();
    Ok(absences.into_iter().collect())
}
