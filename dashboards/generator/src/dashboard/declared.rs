//! Panels of metrics that declare where they are shown: one place for a new metric, its row in the daemon's table.

use super::Dashboard;
use super::panel::{BYTE_RATE, BYTES, COUNT, Panel, RATE, SECONDS, SHARE};
use crate::contract::{Contract, Metric};

/// Adds a panel at the end of its row for each metric that declares one; metrics with the same title share a panel.
pub(super) fn add(dashboards: &mut [Dashboard]) {
    // Without declarations, the checks that read them fail and say so.
    let Ok(contract) = Contract::read() else { return };
    for metric in contract.metrics.values() {
        let Some(place) = &metric.panel else { continue };
        let dashboard = dashboards.iter_mut().find(|dashboard| dashboard.name == place.dashboard);
        let Some(dashboard) = dashboard else { continue };
        let of_queues = dashboard.of_queues;
        let Some(row) = dashboard.rows.iter_mut().find(|row| row.title == place.row) else { continue };
        let (query, legend) = (query(metric, of_queues), legend(metric, of_queues));
        if let Some(panel) = row.panels.iter_mut().find(|panel| panel.title == place.title) {
            panel.ask_too(&query, &legend);
        } else {
            let mut panel = Panel::lines(leak(&place.title), unit(metric), leak(&metric.help));
            panel.ask_too(&query, &legend);
            row.panels.push(panel);
        }
    }
}

fn query(metric: &Metric, of_queues: bool) -> String {
    let selector = if of_queues { "{QUEUE}" } else { "{HOST}" };
    let name = &metric.name;
    match metric.kind.as_str() {
        "counter" => format!("rate({name}{selector}[$__rate_interval])"),
        "histogram" => format!(
            "histogram_quantile(0.99, sum without (instance, job) (rate({name}_bucket{selector}[$__rate_interval])))"
        ),
        _ => format!("{name}{selector}"),
    }
}

fn legend(metric: &Metric, of_queues: bool) -> String {
    let place = if of_queues { "{{interface}}:{{queue}}" } else { "{{instance}}" };
    let own = metric.labels.iter().filter(|label| !["interface", "queue"].contains(&label.as_str()));
    own.fold(place.to_owned(), |legend, label| legend + " {{" + label + "}}")
}

fn unit(metric: &Metric) -> &'static str {
    match (metric.kind.as_str(), metric.unit.as_str()) {
        ("counter", "bytes") => BYTE_RATE,
        ("counter", "seconds") | (_, "ratio") => SHARE,
        ("counter", _) => RATE,
        (_, "bytes") => BYTES,
        (_, "seconds") => SECONDS,
        _ => COUNT,
    }
}

/// Text of the few panels of one run of the generator.
fn leak(text: &str) -> &'static str {
    String::leak(text.to_owned())
}
