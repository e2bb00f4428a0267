//! Rule files. Every value is written in one of two ways that need no knowledge of YAML's exceptions: names as they
//! are, text as a quoted JSON string (which is YAML too).

use super::{About, Alert, Recording};
use crate::monitoring::config::THRESHOLDS;

/// How often rules are evaluated.
const INTERVAL: &str = "30s";

const HEAD: &str = "# Written by `cargo xtask monitoring generate`: change xtask/src/monitoring/rules.\n";

/// The file of the recording rules.
pub(in crate::monitoring) fn recordings(rules: &[Recording]) -> String {
    let mut text = format!(
        "{HEAD}#\n\
         # What dashboards of many hosts read: a handful of series for each host, however many queues it has.\n\
         groups:\n"
    );
    group(&mut text, "zcrx-recording");
    for rule in rules {
        text.push_str(&format!("      # {}\n", rule.about));
        text.push_str(&format!("      - record: {}\n        expr: {}\n", rule.name, expression(&rule.query)));
    }
    text
}

/// The file of the alerts, thresholds first.
pub(in crate::monitoring) fn alerts(alerts: &[Alert], runbook: &str) -> String {
    let mut text = format!(
        "{HEAD}#\n\
         # Thresholds are the first group: change them there and nowhere else. Alerts of the group zcrx-symptoms tell\n\
         # that somebody is harmed (severity critical: page), zcrx-causes what leads there, zcrx-watcher that zcrxd\n\
         # itself does not see what it should. Each has its page in the runbook.\n\
         groups:\n"
    );
    group(&mut text, "zcrx-thresholds");
    for threshold in THRESHOLDS {
        text.push_str(&format!("      # {}\n", threshold.why));
        let value = format!("vector({})", threshold.value);
        text.push_str(&format!("      - record: {}\n        expr: {value}\n", threshold.series()));
    }
    for about in About::ALL {
        text.push('\n');
        group(&mut text, about.group());
        for alert in alerts.iter().filter(|alert| alert.about == about) {
            text.push_str(&one(alert, runbook));
        }
    }
    text
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

fn group(text: &mut String, name: &str) {
    text.push_str(&format!("  - name: {name}\n    interval: {INTERVAL}\n    rules:\n"));
}

/// A query as a block, so that it stands in the file as one would type it.
fn expression(query: &str) -> String {
    let mut text = "|-".to_owned();
    for line in query.lines() {
        text.push_str(&format!("\n          {line}"));
    }
    text
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
