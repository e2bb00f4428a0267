//! What rules and dashboards share: parameters of a site, and thresholds.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use crate::rules::Severity;

/// The address of the runbook on the host that an alert is about: zcrxd serves the pages itself.
pub(super) const RUNBOOK: &str = "http://{{ $labels.instance }}/runbook";

/// Matches the names of the scrape job: `zcrxd`, or `NAMESPACE/zcrxd` as a PodMonitor names jobs.
pub(super) const JOB: &str = "(.+/)?zcrxd";

/// How far back the recorded rates look, and what their names end with.
pub(super) const WINDOW: &str = "5m";

/// The label that distinguishes the hosts of several clusters in one store; where no series has it, it changes nothing.
pub(super) const CLUSTER: &str = "cluster";

/// Labels that name one host, `%C` for that of its cluster: every aggregation and every join keeps them.
pub(super) const HOST: &str = "%C, job, instance";

/// Labels that name one queue.
pub(super) const QUEUE: &str = "%C, job, instance, interface, queue";

/// What a site can change when the rules are generated.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    /// Regular expression for the names of the scrape job.
    pub job: String,
    /// Label that names the cluster.
    pub cluster: String,
    /// Severity of alerts that page, and of the others, as the label has it.
    pub severities: [String; 2],
    /// Where the runbook can be read: `<this>/<alert>`.
    pub runbook: String,
    /// Values of thresholds that differ from the table, by name.
    pub thresholds: BTreeMap<String, f64>,
    /// Whether thresholds are filled in later.
    pub fill_in: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            job: JOB.to_owned(),
            cluster: CLUSTER.to_owned(),
            severities: [Severity::Critical, Severity::Warning].map(|severity| severity.name().to_owned()),
            runbook: RUNBOOK.to_owned(),
            thresholds: BTreeMap::new(),
            fill_in: false,
        }
    }
}

impl Parameters {
    /// Takes `NAME=VALUE` for each threshold that a site sets.
    pub(super) fn with_thresholds(mut self, settings: &[String]) -> Result<Self> {
        for setting in settings {
            let (name, value) =
                setting.split_once('=').with_context(|| format!("{setting}: write NAME=VALUE"))?;
            if !THRESHOLDS.iter().any(|threshold| threshold.name == name) {
                let names: Vec<_> = THRESHOLDS.iter().map(|threshold| threshold.name).collect();
                bail!("there is no threshold {name}; there are {}", names.join(", "));
            }
            let value = value.parse().with_context(|| format!("{setting}: {value} is not a number"))?;
            self.thresholds.insert(name.to_owned(), value);
        }
        Ok(self)
    }

    /// Parameters that a chart or a mixin fills in later: each is `@name@` in the rules.
    pub(super) fn to_be_filled_in() -> Self {
        Self {
            job: "@job@".to_owned(),
            cluster: "@cluster@".to_owned(),
            severities: [Severity::Critical, Severity::Warning]
                .map(|severity| format!("@{}@", severity.name())),
            runbook: "@runbook@".to_owned(),
            thresholds: BTreeMap::new(),
            fill_in: true,
        }
    }

    /// The label `severity` of an alert at this site.
    pub(super) fn severity(&self, severity: Severity) -> &str {
        let [critical, warning] = &self.severities;
        match severity {
            Severity::Critical => critical,
            Severity::Warning => warning,
        }
    }

    /// A query or text of the tables for this site: `%J`, `%H`, `%Q` and `%C` stand for the job, the labels of a host, those
    /// of a queue, and that of a cluster.
    pub(super) fn fill(&self, text: &str) -> String {
        text.replace("%H", HOST).replace("%Q", QUEUE).replace("%C", &self.cluster).replace("%J", &self.job)
    }

    /// The value of a threshold at this site, as it stands in a query.
    pub(super) fn value(&self, threshold: Threshold) -> String {
        if self.fill_in {
            return format!("@{}@", threshold.name);
        }
        self.thresholds.get(threshold.name).copied().unwrap_or(threshold.value).to_string()
    }
}

/// A number that alerts compare with. Rules have it as a literal: a threshold that is a series of its own is ambiguous in
/// a store with several clusters, and an alert that compares with an ambiguous number is silent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threshold {
    /// Its name, for `--threshold NAME=VALUE` and the values of the chart.
    pub name: &'static str,
    /// The default.
    pub value: f64,
    /// What the number is, and why it is that one.
    pub why: &'static str,
}

pub(super) const ALARM: Threshold = Threshold {
    name: "alarm_seconds_5m",
    value: 60.0,
    why: "seconds with an alarm within 5 minutes: one minute at a stretch, or 12 s of every minute",
};
pub(super) const FORESIGHT: Threshold = Threshold {
    name: "time_to_starvation_seconds",
    value: 600.0,
    why: "seconds until the forecast starvation: time enough to act without haste",
};
pub(super) const EPISODES: Threshold = Threshold {
    name: "episodes_1h",
    value: 3.0,
    why: "episodes of one queue in an hour: one is an accident, three are a habit",
};
pub(super) const COPIED: Threshold = Threshold {
    name: "copied_ratio",
    value: 0.1,
    why: "share of a queue's payload that is copied: the first segments of a connection may be",
};
pub(super) const REGISTRATIONS: Threshold = Threshold {
    name: "registration_failures_15m",
    value: 3.0,
    why: "refused registrations in 15 minutes: a program that probes for features is refused once or twice",
};
pub(super) const SINK_ERRORS: Threshold = Threshold {
    name: "sink_errors_15m",
    value: 1.0,
    why: "connections in 15 minutes whose sink failed: each loses data",
};
pub(super) const STALE: Threshold = Threshold {
    name: "diagnosis_age_seconds",
    value: 30.0,
    why: "seconds since the last diagnosis; the longest interval that can be configured is 10",
};
pub(super) const SLOW_SCRAPE: Threshold = Threshold {
    name: "scrape_seconds",
    value: 2.0,
    why: "seconds that all collectors take for one scrape; Prometheus gives up after 10 by default",
};
pub(super) const FDS: Threshold = Threshold {
    name: "open_fds_ratio",
    value: 0.8,
    why: "share of the file descriptors that zcrxd may open",
};
pub(super) const RESTARTS: Threshold = Threshold {
    name: "restarts_30m",
    value: 2.0,
    why: "restarts in half an hour: an upgrade and its correction are two",
};

pub(super) const CERTIFICATE: Threshold = Threshold {
    name: "certificate_lifetime_ratio",
    value: 0.1,
    why: "share of its lifetime that a certificate has left: nine days of ninety, an hour of ten; renewal comes at a third",
};

/// Every threshold, in the order of the alerts.
pub(super) const THRESHOLDS: &[Threshold] = &[
    ALARM,
    FORESIGHT,
    EPISODES,
    COPIED,
    REGISTRATIONS,
    SINK_ERRORS,
    STALE,
    SLOW_SCRAPE,
    FDS,
    RESTARTS,
    CERTIFICATE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_of_a_site_replace_the_defaults() -> Result<()> {
        let site = Parameters::default().with_thresholds(&["episodes_1h=5".to_owned()])?;
        assert_eq!((site.value(EPISODES), site.value(RESTARTS)), ("5".to_owned(), "2".to_owned()));
        for wrong in ["episodes_1h", "episodes_1h=many", "no_such=1"] {
            assert!(Parameters::default().with_thresholds(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        Ok(())
    }
}
