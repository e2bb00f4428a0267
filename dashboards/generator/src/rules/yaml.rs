//! Rule files. Every value is written in one of two ways that need no knowledge of YAML's exceptions: names as they
//! are, text as a quoted JSON string (which is YAML too).

use std::fmt::Write;

use super::{About, Alert, Recording, state};
use crate::config::{Parameters, THRESHOLDS};

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

/// The file of the alerts.
pub(crate) fn alerts(alerts: &[Alert], site: &Parameters) -> String {
    let mut text = format!(
        "{HEAD}#\n\
         # Alerts of the group zcrx-symptoms say that users are harmed (severity critical: page), zcrx-causes what leads\n\
         # there, zcrx-watcher that zcrxd itself does not see what it should. Each has its page in the runbook:\n\
         # `zcrxd runbook ALERT`, or /runbook/ALERT on each host.\n\
         #\n\
         # Other thresholds, jobs or runbooks: cargo xtask monitoring generate --threshold NAME=VALUE. Thresholds:\n"
    );
    for threshold in THRESHOLDS {
        writeln!(text, "#   {}={}: {}", threshold.name, site.value(*threshold), threshold.why)
            .expect("writing to a String cannot fail");
    }
    text += "groups:\n";
    text += "  # What alerts remember.\n";
    text += &group("zcrx-state");
    text.extend(state(site).iter().map(|rule| record(rule.about, rule.name, &expression(&rule.query))));
    for about in About::ALL {
        text.push('\n');
        text += &group(about.group());
        let alerts = alerts.iter().filter(|alert| alert.about == about);
        text.extend(alerts.map(|alert| one(alert, site)));
    }
    text
}

fn record(about: &str, name: &str, expression: &str) -> String {
    format!("      # {about}\n      - record: {name}\n        expr: {expression}\n")
}

fn one(alert: &Alert, site: &Parameters) -> String {
    let Alert { name, lasting, keep, summary, description, .. } = alert;
    let duration = |key: &str, time: &str| {
        if time == "0s" { String::new() } else { format!("        {key}: {time}\n") }
    };
    format!(
        "      - alert: {name}\n        expr: {}\n{}{}        labels:\n          severity: {}\n        annotations:\n\
         \x20         summary: {}\n          description: {}\n          runbook_url: {}\n",
        expression(&alert.query),
        duration("for", lasting),
        duration("keep_firing_for", keep),
        severity(site, alert),
        quoted(summary),
        quoted(description),
        quoted(&format!("{}/{name}", site.runbook)),
    )
}

/// A name as it is; a placeholder in quotes, since a site may fill in a number.
fn severity(site: &Parameters, alert: &Alert) -> String {
    let severity = site.severity(alert.severity);
    if site.fill_in { quoted(severity) } else { severity.to_owned() }
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
