//! Recording rules and alerts, as tables; written as the YAML that Prometheus reads.

mod alerts;
pub(super) mod healthy;
mod recording;
mod yaml;

use anyhow::{Context, Result};

use super::config::{HOST, Parameters};
use super::contract::Contract;
use super::promql::{Recorded, analyse};

pub(super) use self::alerts::{alarms, alerts};
pub(super) use self::recording::{RECEIVERS, recordings, state};
pub(super) use self::yaml::{alerts as alerts_file, recordings as recordings_file};

/// A series that Prometheus makes from others.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    /// `level:metric:operations`.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The query.
    pub query: String,
}

/// Receiver and urgency of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Users are affected now: page.
    Critical,
    /// It will harm, or hides harm: look at it in working hours.
    Warning,
}

impl Severity {
    /// The value of the label.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// What users feel.
    Symptom,
    /// What leads there.
    Cause,
    /// zcrxd itself: whether the others could speak at all.
    Watcher,
}

impl About {
    /// Every group, in the order of the file.
    pub(super) const ALL: [Self; 3] = [Self::Symptom, Self::Cause, Self::Watcher];

    /// The group of rules.
    pub(super) const fn group(self) -> &'static str {
        match self {
            Self::Symptom => "zcrx-symptoms",
            Self::Cause => "zcrx-causes",
            Self::Watcher => "zcrx-watcher",
        }
    }
}

/// One alert.
#[derive(Clone, Debug)]
pub(super) struct Alert {
    /// In CamelCase; the runbook has a page of that name.
    pub name: &'static str,
    /// Which group it stands in.
    pub about: About,
    /// Severity.
    pub severity: Severity,
    /// How long the query holds before the alert fires, as Prometheus writes durations.
    pub lasting: &'static str,
    /// How long the alert goes on after the query has ceased to hold: no flapping, one notification.
    pub keep: &'static str,
    /// The query.
    pub query: String,
    /// One line.
    pub summary: String,
    /// What is known, with numbers.
    pub description: String,
}

/// Labels of everything that is recorded; fails if a query does not hold.
pub(super) fn recorded(contract: &Contract) -> Result<Recorded> {
    let mut recorded = Recorded::new();
    let site = Parameters::default();
    for rule in state(&site).into_iter().chain(recordings(&site)) {
        if rule.name == RECEIVERS {
            // Reads its own last value.
            recorded.insert(rule.name.to_owned(), site.fill(HOST).split(", ").map(str::to_owned).collect());
        }
        // A rule may read those above it, and no others.
        let query = analyse(&rule.query, contract, &recorded).context(rule.name)?;
        recorded.insert(rule.name.to_owned(), query.labels);
    }
    Ok(recorded)
}
