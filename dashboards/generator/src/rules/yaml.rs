//! Rule files. Every value is written in one of two ways that need no knowledge of YAML's exceptions: names as they
//! are, text as a quoted JSON string (which is YAML too).

use super::{About, Alert, Recording};
use crate::config::THRESHOLDS;

/// How often rules are evaluated.
const INTERVAL: &str = "30s";

const HEAD: &str = "# Written by `cargo xtask regenerate`: change dashboards/generator/src/rules.\n";

/// The file of the recording rules.
pub(crate) fn recordings(rules: &[Recording]) -> String {
    let mut text = format!(
        "{HEAD}#\n\
         # What dashboards of many hosts read: a handful of series for each host, however many queues it has.\n\
         groups:\n"
    );
    text += &group("zcrx-recording");
    text.extend(rules.iter().map(|rule| record(rule.about, rule.name, &expression(&rule.query))));
    text
}

/// The file of the alerts, thresholds first.
pub(crate) fn alerts(alerts: &[Alert], runbook: &str) -> String {
    let mut text = format!(
        "{HEAD}#\n\
         # Thresholds are the first group: change them there and nowhere else. Alerts of the group zcrx-symptoms tell\n\
         # that somebody is harmed (severity critical: page), zcrx-causes what leads there, zcrx-watcher that zcrxd\n\
         # itself does not see what it should. Each has its page in the runbook.\n\
         groups:\n"
    );
    text += &group("zcrx-thresholds");
    text.extend(THRESHOLDS.iter().map(|threshold| {
        record(threshold.why, &threshold.series(), &format!("vector({})", threshold.value))
    }));
    for about in About::ALL {
        text.push('\n');
        text += &group(about.group());
        let alerts = alerts.iter().filter(|alert| alert.about == about);
        text.extend(alerts.map(|alert| one(alert, runbook)));
    }
    text
}

fn record(about: &str, name: &str, expression: &str) -> String {
    format!("      # {about}\n      - record: {name}\n        expr: {expression}\n")
}

fn one(alert: &Alert, runbook: &str) -> String {
    let Alert { name, severity, lasting, summary, description, .. } = alert;
    let duration = if *lasting == "0s" { String::new() } else { format!("        for: {lasting}\n") };
    format!(
        "      - alert: {name}\n        expr: {}\n{duration}        labels:\n          severity: {}\n        annotations:\n\
         \x20         summary: {}\n          description: {}\n          runbook_url: {}\n",
        expression(&alert.query),
        severity.name(),
        quoted(summary),
        quoted(description),
        quoted(&format!("{runbook}/{name}.md")),
    )
}

fn group(name: &str) -> String {
    format!("  - name: {name}\n    interval: {INTERVAL}\n    rules:\n")
}

/// A query as a block, so that it stands in the file as one would type it.
fn expression(query: &str) -> String {
    let lines: Vec<_> = std::iter::once("|-").chain(query.lines()).collect();
    lines.join("\n          ")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
