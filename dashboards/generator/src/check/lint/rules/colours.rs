//! What a panel says by its colour and its unit.

use serde_json::Value;

use super::{Known, complaint, expressions, list};

/// A number, a bar or a state is coloured by a judgement or is plain; what is unknown is never green.
pub(super) fn thresholds(panel: &Value, _: &Known) -> Vec<String> {
    let kind = panel["type"].as_str().unwrap_or_default();
    if !["stat", "bargauge", "state-timeline"].contains(&kind) {
        return Vec::new();
    }
    let defaults = &panel["fieldConfig"]["defaults"];
    if defaults["color"]["mode"] == "fixed" {
        return complaint(defaults["color"]["fixedColor"] == "green", "green whatever the value is");
    }
    let steps: Vec<_> = list(&defaults["thresholds"]["steps"]).collect();
    let is_judged = steps.iter().any(|step| step["color"] == "red" || step["color"] == "orange");
    let unknown = steps.first().filter(|step| step["color"] == "green");
    let mut complaints = complaint(!is_judged, "no value of it is bad: leave the thresholds out");
    complaints.extend(complaint(unknown.is_some(), "green where the value is unknown"));
    complaints.extend(complaint(!steps.iter().any(|step| step["value"] == 0.0), "no colour at 0"));
    complaints
}

/// A flag or a count is no time.
pub(super) fn unit_of_series(panel: &Value, known: &Known) -> Vec<String> {
    if panel["fieldConfig"]["defaults"]["unit"] != "s" {
        return Vec::new();
    }
    expressions(panel)
        .filter(|text| {
            // Another rule reports queries that do not parse.
            let selectors = known.query(text).map(|query| query.selectors).unwrap_or_default();
            !selectors.is_empty() && selectors.iter().all(|selector| !selector.series.contains("_seconds"))
        })
        .map(|text| format!("{text} is shown in seconds"))
        .collect()
}
