//! Rules for dashboards, in the manner of Grafana's dashboard-linter and with its names, and some of our own. They look
//! at the files, not at the tables that these are written from.

mod rules;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::rules::{DASHBOARD, Known, PANEL};
use super::exceptions::{Exceptions, Lint};
use xtask_tools::workspace::root;

pub(super) fn check() -> Result<Vec<String>> {
    let known = Known::read()?;
    let mut exceptions = Exceptions::read()?.lint;
    let mut complaints = Vec::new();
    let mut panels = 0;
    let folder = root().join("dashboards");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("no dashboards in {}", folder.display());
    }
    for path in files {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let dashboard: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        panels += rules::panels(&dashboard).count();
        complaints.extend(dashboard_complaints(&name, &dashboard, &known, &mut exceptions));
    }
    println!("{panels} panels");
    complaints.extend(exceptions.iter().map(|it| {
        format!("the exception of {} / {} from {} is not needed", it.dashboard, it.panel, it.rule)
    }));
    Ok(complaints)
}

/// What breaks a rule in one dashboard; exceptions that were used are taken out of the list.
fn dashboard_complaints(
    name: &str,
    dashboard: &Value,
    known: &Known,
    exceptions: &mut Vec<Lint>,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for (rule, broken) in DASHBOARD {
        complaints.extend(broken(dashboard, known).into_iter().map(|what| format!("{name}: {rule}: {what}")));
    }
    for panel in rules::panels(dashboard) {
        let title = panel["title"].as_str().unwrap_or_default();
        for (rule, broken) in PANEL {
            let found = broken(panel, known);
            if found.is_empty() {
                continue;
            }
            let excepted = exceptions
                .iter()
                .position(|it| it.rule == *rule && it.dashboard == name && it.panel == title);
            match excepted {
                Some(index) => drop(exceptions.remove(index)),
                None => {
                    complaints
                        .extend(found.into_iter().map(|what| format!("{name} / {title}: {rule}: {what}")));
                }
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard;

    /// What is done to a dashboard to break a rule.
    type Change = Box<dyn FnOnce(&mut Value)>;

    /// Complaints about a valid dashboard after `change`.
    fn complaints_after(change: impl FnOnce(&mut Value)) -> Result<Vec<String>> {
        let dashboard = dashboard::all().remove(1);
        let mut value = serde_json::from_str(&dashboard::render(&dashboard))?;
        change(&mut value);
        Ok(dashboard_complaints("queue", &value, &Known::read()?, &mut Vec::new()))
    }

    fn rules_broken(change: impl FnOnce(&mut Value)) -> Result<Vec<String>> {
        let complaints = complaints_after(change)?;
        let rule = |complaint: &String| complaint.split(": ").nth(1).unwrap_or_default().to_owned();
        Ok(complaints.iter().map(rule).collect())
    }

    #[test]
    fn each_rule_can_be_broken() -> Result<()> {
        assert_eq!(complaints_after(|_| ())?, [""; 0]);
        // Of the panels: one with lines.
        let panel = |dashboard: &mut Value| -> usize {
            let panels = dashboard["panels"].as_array().into_iter().flatten();
            panels.into_iter().position(|panel| panel["type"] == "timeseries").unwrap_or_default()
        };
        let set_query = |query: &'static str| {
            move |dashboard: &mut Value| {
                let index = panel(dashboard);
                dashboard["panels"][index]["targets"][0]["expr"] = query.into();
                dashboard["panels"][index]["targets"][0]["legendFormat"] = "".into();
            }
        };
        let set = |field: &'static str, to: Value| {
            move |dashboard: &mut Value| {
                let index = panel(dashboard);
                dashboard["panels"][index][field] = to;
            }
        };
        let table: Vec<(&str, Change)> = vec![
            ("panel-title-description", Box::new(set("description", "".into()))),
            ("panel-units", Box::new(set("fieldConfig", serde_json::json!({})))),
            // The first panel with lines shows a number without a unit.
            (
                "panel-unit-of-series",
                Box::new(set("fieldConfig", serde_json::json!({ "defaults": { "unit": "s" } }))),
            ),
            // The lines of a time series begin with green.
            ("panel-thresholds", Box::new(set("type", "stat".into()))),
            ("panel-cause-letters", Box::new(set("description", "Slow (A, E), or not read (B).".into()))),
            (
                "target-zero",
                Box::new(set_query("count(up{job=~\"$job\",instance=~\"$instance\"}) or vector(0)")),
            ),
            ("panel-datasource", Box::new(set("datasource", "prometheus".into()))),
            ("panel-no-targets", Box::new(set("targets", serde_json::json!([])))),
            ("target-job", Box::new(set_query("zcrxd_receiver_connections{instance=~\"$instance\"}"))),
            ("target-instance", Box::new(set_query("zcrxd_receiver_connections{job=~\"$job\"}"))),
            (
                "target-counter-agg",
                Box::new(set_query(
                    "zcrxd_receiver_received_bytes_total{job=~\"$job\",instance=~\"$instance\"}",
                )),
            ),
            (
                "target-rate-interval",
                Box::new(set_query(
                    "rate(zcrxd_receiver_received_bytes_total{job=~\"$job\",instance=~\"$instance\"}[5m])",
                )),
            ),
            ("target-promql", Box::new(set_query("sum(zcrxd_receiver_connections"))),
            ("uneditable-dashboard", Box::new(|dashboard| dashboard["editable"] = true.into())),
            (
                "template-job",
                Box::new(|dashboard| dashboard["templating"]["list"][1]["allValue"] = ".*".into()),
            ),
            (
                "template-datasource",
                Box::new(|dashboard| dashboard["templating"]["list"][0]["name"] = "source".into()),
            ),
            ("panel-places", Box::new(set("gridPos", serde_json::json!({ "x": 0, "y": 1, "w": 8, "h": 8 })))),
            ("links", Box::new(|dashboard| dashboard["panels"][1]["links"][0]["url"] = "/nowhere.md".into())),
            ("annotations", Box::new(|dashboard| dashboard["annotations"]["list"] = serde_json::json!([]))),
            (
                "opening-queries",
                Box::new(|dashboard| {
                    let target = dashboard["panels"][1]["targets"][0].clone();
                    dashboard["panels"][1]["targets"] = vec![target; 26].into();
                }),
            ),
        ];
        for (rule, change) in table {
            let broken = rules_broken(change)?;
            assert!(broken.iter().any(|broken| broken == rule), "{rule} is not broken, but {broken:?}");
        }
        Ok(())
    }

    #[test]
    fn an_exception_is_used_up() -> Result<()> {
        let dashboard = dashboard::all().remove(1);
        let mut value: Value = serde_json::from_str(&dashboard::render(&dashboard))?;
        value["panels"][1]["description"] = "".into();
        let title = value["panels"][1]["title"].as_str().unwrap_or_default().to_owned();
        let mut exceptions = vec![Lint {
            rule: "panel-title-description".to_owned(),
            dashboard: "queue".to_owned(),
            panel: title,
            reason: "it is a test".to_owned(),
        }];
        assert_eq!(dashboard_complaints("queue", &value, &Known::read()?, &mut exceptions), [""; 0]);
        assert!(exceptions.is_empty());
        Ok(())
    }
}
