//! Alerts say what the person who is woken needs, and are tested on both sides of the time they wait.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::exceptions::Exceptions;
use crate::config::Parameters;
use crate::contract::Contract;
use crate::rules::{self, About, Alert, Severity, alerts};
use xtask_tools::workspace::root;

/// Tests of healthy hosts.
const HEALTHY: &str = "healthy.yml";

/// The folder of the tests.
pub(super) const TESTS: &str = "deploy/prometheus/tests";

pub(super) fn check() -> Result<Vec<String>> {
    let alerts = alerts(&Parameters::default());
    let tests = tests()?;
    let mut complaints: Vec<_> = alerts.iter().flat_map(complaints).collect();
    for alert in &alerts {
        let times = times(&tests, alert.name);
        if !(times.contains(&true) && times.contains(&false)) {
            complaints
                .push(format!("{}: {TESTS} do not test when it fires and when it does not", alert.name));
        }
        if alerts.iter().filter(|other| other.name == alert.name).count() > 1 {
            complaints.push(format!("{}: there are two of that name", alert.name));
        }
    }
    complaints.extend(alarms_without_alert()?);
    println!("{} alerts", alerts.len());
    Ok(complaints)
}

/// The counter whose label has every kind of alarm.
const ALARMS: &str = "zcrx_queue_alarm_seconds_total";

fn alarms_without_alert() -> Result<Vec<String>> {
    let contract = Contract::read()?;
    let there_are = &contract.metrics.get(ALARMS).with_context(|| format!("there is no {ALARMS}"))?.values;
    let alerted = rules::alarms().map(str::to_owned).collect();
    let excepted = Exceptions::read()?.alarm.into_iter().map(|exception| exception.name).collect();
    Ok(compare(there_are, &alerted, &excepted))
}

/// Each kind of alarm has either an alert or an exception, and nothing else has one.
fn compare(
    there_are: &BTreeSet<String>,
    alerted: &BTreeSet<String>,
    excepted: &BTreeSet<String>,
) -> Vec<String> {
    let known: BTreeSet<_> = alerted.union(excepted).cloned().collect();
    let forgotten = there_are.difference(&known).map(|name| {
        format!("the alarm {name} has no alert: add a row to rules/alerts/queue.rs, or [[alarm]] to dashboards/exceptions.toml")
    });
    let unknown = known.difference(there_are).map(|name| format!("there is no alarm {name}"));
    let twice = alerted.intersection(excepted).map(|name| format!("{name} is excepted, but it has an alert"));
    forgotten.chain(unknown).chain(twice).collect()
}

fn complaints(alert: &Alert) -> Vec<String> {
    let Alert { name, about, severity, summary, description, lasting, .. } = alert;
    let camel = name.starts_with("Zcrx") && name.chars().all(|char| char.is_ascii_alphanumeric());
    let pages = *severity == Severity::Critical;
    [
        (!camel, "its name is not CamelCase, or does not begin with Zcrx"),
        (pages != (*about == About::Symptom), "symptoms page, and nothing else does"),
        (!summary.contains("$labels") && *name != "ZcrxdAbsent", "its summary does not say where"),
        (description.contains(".comm"), "an application can write into its description"),
        (!(description.contains("$value") || without_number(name)), "its description has no number"),
        (summary.ends_with('.'), "its summary ends with a full stop"),
        (!lasting.ends_with(['s', 'm', 'h']), "it does not say how long it waits"),
    ]
    .iter()
    .filter(|(broken, _)| *broken)
    .map(|(_, what)| format!("{name}: {what}"))
    .collect()
}

/// Alerts about something that is so or is not: there is nothing to count.
fn without_number(name: &str) -> bool {
    [
        "ZcrxReceiveQueueFailed",
        "ZcrxReceiverDown",
        "ZcrxReceiveDegraded",
        "ZcrxdAbsent",
        "ZcrxdDown",
        "ZcrxProbeMissing",
        "ZcrxConfigReloadFailed",
        "ZcrxWebConfigReloadFailed",
        "ZcrxThreadHangs",
    ]
    .contains(&name)
}

fn tests() -> Result<String> {
    let folder = root().join(TESTS);
    let mut all = String::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name == HEALTHY) {
            // Shows one side for every alert.
            continue;
        }
        all += &std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(all)
}

/// For each test of an alert: whether it is expected to fire.
fn times(tests: &str, alert: &str) -> Vec<bool> {
    let mut times = Vec::new();
    let mut lines = tests.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if line.strip_prefix("alertname:").is_none_or(|name| name.trim() != alert) {
            continue;
        }
        // `exp_alerts` with anything below it; without it, or with an empty list, no alert is expected.
        let fires = lines.peek().is_some_and(|next| *next == "exp_alerts:");
        times.push(fires);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarm_without_alert_or_exception_is_reported() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(compare(&set(&["a", "b"]), &set(&["a"]), &set(&["b"])), [""; 0]);
        let complaints = compare(&set(&["a", "b", "c"]), &set(&["a", "d"]), &set(&["a", "b"]));
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints[0].starts_with("the alarm c has no alert"));
        assert!(complaints[1].starts_with("there is no alarm d"));
        assert!(complaints[2].starts_with("a is excepted"));
    }

    #[test]
    fn both_sides_are_distinguished() {
        let tests = "- eval_time: 1m\n  alertname: A\n  exp_alerts: []\n- eval_time: 2m\n  alertname: A\n  exp_alerts:\n    - {}\n\
                     - eval_time: 2m\n  alertname: B\n  exp_alerts: []\n";
        assert_eq!(times(tests, "A"), [false, true]);
        assert_eq!(times(tests, "B"), [false]);
        assert_eq!(times(tests, "C"), [false; 0]);
    }
}
