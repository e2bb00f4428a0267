//! Alerts say what the person who is woken needs, and are tested on both sides of the time they wait.

use anyhow::{Context, Result};

use crate::config::Parameters;
use crate::rules::{About, Alert, Severity, alerts};
use xtask_tools::workspace::root;

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
    println!("{} alerts", alerts.len());
    Ok(complaints)
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
    fn both_sides_are_distinguished() {
        let tests = "- eval_time: 1m\n  alertname: A\n  exp_alerts: []\n- eval_time: 2m\n  alertname: A\n  exp_alerts:\n    - {}\n\
                     - eval_time: 2m\n  alertname: B\n  exp_alerts: []\n";
        assert_eq!(times(tests, "A"), [false, true]);
        assert_eq!(times(tests, "B"), [false]);
        assert_eq!(times(tests, "C"), [false; 0]);
    }
}
