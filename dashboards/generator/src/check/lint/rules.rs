//! The rules. Each returns what breaks it.

mod colours;

use anyhow::Result;
use serde_json::Value;

use crate::contract::Contract;
use crate::promql::{Query, Recorded, analyse};
use crate::queries::Options;
use crate::{dashboard, rules};
use xtask_tools::workspace::root;

type Rule = (&'static str, fn(&Value, &Known) -> Vec<String>);

/// What queries may name.
pub(super) struct Known {
    contract: Contract,
    recorded: Recorded,
}

impl Known {
    pub(super) fn read() -> Result<Self> {
        let contract = Contract::read()?;
        let recorded = rules::recorded(&contract)?;
        Ok(Self { contract, recorded })
    }

    /// A query taken apart, its variables of labels left as they are.
    fn query(&self, text: &str) -> Result<Query> {
        let text = text.replace("$__rate_interval", "1m").replace("$__range", "1h");
        analyse(&text, &self.contract, &self.recorded)
    }
}

/// Rules for a dashboard as a whole.
pub(super) const DASHBOARD: &[Rule] = &[
    ("uneditable-dashboard", uneditable),
    ("template-datasource", template_datasource),
    ("template-job", |dashboard, _| template(dashboard, "job", ".+")),
    ("template-instance", |dashboard, _| template(dashboard, "instance", ".+")),
    ("annotations", annotations),
    ("panel-places", places),
    ("opening-queries", opening),
];

/// Rules for a panel.
pub(super) const PANEL: &[Rule] = &[
    ("panel-title-description", title_and_description),
    ("panel-units", units),
    ("panel-unit-of-series", colours::unit_of_series),
    ("panel-thresholds", colours::thresholds),
    ("panel-cause-letters", cause_letters),
    ("panel-datasource", datasource),
    ("panel-no-targets", targets),
    ("target-promql", promql),
    ("target-job", |panel, known| target_matcher(panel, known, "job")),
    ("target-instance", |panel, known| target_matcher(panel, known, "instance")),
    ("target-zero", zero_for_unknown),
    ("target-rate-interval", rate_interval),
    ("target-counter-agg", counters),
    ("links", links),
];

/// Functions that make of a counter what can be looked at.
const OF_COUNTERS: [&str; 4] = ["rate", "increase", "irate", "resets"];

/// Units of Grafana that are used here.
const UNITS: [&str; 7] = ["short", "none", "s", "bytes", "Bps", "ops", "percentunit"];

/// Every panel that is not a heading.
pub(super) fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"])
        .flat_map(|panel| std::iter::once(panel).chain(list(&panel["panels"])))
        .filter(|panel| panel["type"] != "row")
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn complaint(broken: bool, what: impl Into<String>) -> Vec<String> {
    if broken { vec![what.into()] } else { Vec::new() }
}

fn uneditable(dashboard: &Value, _: &Known) -> Vec<String> {
    complaint(dashboard["editable"] != false, "what is changed by hand is lost with the next import")
}

fn template_datasource(dashboard: &Value, _: &Known) -> Vec<String> {
    let found = list(&dashboard["templating"]["list"]).any(|variable| {
        variable["type"] == "datasource"
            && variable["name"] == "datasource"
            && variable["label"] == "Data source"
            && variable["query"] == "prometheus"
    });
    complaint(!found, "no variable for the data source")
}

/// One host at a time, or any number of them; `all` is the regular expression for all.
fn template(dashboard: &Value, name: &str, all: &str) -> Vec<String> {
    let found = list(&dashboard["templating"]["list"]).any(|variable| {
        variable["name"] == name
            && variable["type"] == "query"
            && (variable["includeAll"] == false || variable["allValue"] == all)
            && variable["refresh"] == 2
            && variable["datasource"]["uid"] == "${datasource}"
            && variable["label"].as_str().is_some_and(|label| label.to_lowercase() == name)
    });
    complaint(
        !found,
        format!(
            "no variable {name} that is refreshed when the time range changes and accepts several values"
        ),
    )
}

fn annotations(dashboard: &Value, known: &Known) -> Vec<String> {
    let mut found = Vec::new();
    for annotation in list(&dashboard["annotations"]["list"]) {
        found.push(annotation["name"].as_str().unwrap_or_default());
        if let Err(error) = known.query(annotation["expr"].as_str().unwrap_or_default()) {
            return vec![format!("{error:#}")];
        }
    }
    let marked = ["Alerts", "Episodes"].into_iter().filter(|name| !found.contains(name));
    marked.map(|name| format!("{name} are not marked")).collect()
}

/// Queries that a dashboard asks when it is opened; folded rows ask theirs later.
const OPENING_QUERIES: usize = 25;

fn opening(dashboard: &Value, _: &Known) -> Vec<String> {
    let asked = list(&dashboard["panels"]).map(|panel| list(&panel["targets"]).count()).sum::<usize>();
    complaint(asked > OPENING_QUERIES, format!("{asked} queries at opening, more than {OPENING_QUERIES}"))
}

/// Panels neither overlap nor stand out, and no two have one number.
fn places(dashboard: &Value, _: &Known) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut taken: Vec<(&str, [u64; 4])> = Vec::new();
    let mut ids = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap_or_default();
        let sides = ["x", "y", "w", "h"].map(|name| panel["gridPos"][name].as_u64());
        let [Some(x), Some(y), Some(w), Some(h)] = sides else {
            complaints.push(format!("{title} has no place"));
            continue;
        };
        let place = [x, y, x + w, y + h];
        if x + w > 24 {
            complaints.push(format!("{title} stands out of the page"));
        }
        for (other, [left, top, right, bottom]) in &taken {
            if place[0] < *right && *left < place[2] && place[1] < *bottom && *top < place[3] {
                complaints.push(format!("{title} lies on {other}"));
            }
        }
        taken.push((title, place));
        if ids.contains(&&panel["id"]) {
            complaints.push(format!("{title} has the number of another"));
        }
        ids.push(&panel["id"]);
    }
    complaints
}

fn title_and_description(panel: &Value, _: &Known) -> Vec<String> {
    let empty = |name: &str| panel[name].as_str().is_none_or(|text| text.trim().is_empty());
    complaint(empty("title") || empty("description"), "no title or no description")
}

fn units(panel: &Value, _: &Known) -> Vec<String> {
    let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
    complaint(!UNITS.contains(&unit), format!("the unit is {unit:?}"))
}

/// Letters of causes have no legend on a dashboard; names have.
fn cause_letters(panel: &Value, _: &Known) -> Vec<String> {
    let text = panel["description"].as_str().unwrap_or_default();
    let letters = text.split(|char: char| !(char.is_alphanumeric() || char == ')' || char == ','));
    let letters = letters.filter(|word| {
        let mut chars = word.chars();
        let (letter, after, end) = (chars.next(), chars.next(), chars.next());
        letter.is_some_and(|letter| ('A'..='M').contains(&letter))
            && after.is_some_and(|it| !it.is_alphanumeric())
            && end.is_none()
    });
    letters.map(|letter| format!("{letter}: write the name of the cause")).collect()
}

/// `vector(0)` shows 0 where nothing is known.
fn zero_for_unknown(panel: &Value, _: &Known) -> Vec<String> {
    complaint(
        expressions(panel).any(|text| text.contains("vector(0)")),
        "shows 0 where nothing is known: write `or 0 * count(…)` of what must be there",
    )
}

fn datasource(panel: &Value, _: &Known) -> Vec<String> {
    let chosen = |of: &Value| of["datasource"]["uid"] == "${datasource}";
    let fixed = !chosen(panel) || !list(&panel["targets"]).all(chosen);
    complaint(fixed, "the data source is not the one that is chosen")
}

fn targets(panel: &Value, _: &Known) -> Vec<String> {
    complaint(list(&panel["targets"]).next().is_none(), "asks nothing")
}

fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    list(&panel["targets"]).filter_map(|target| target["expr"].as_str())
}

fn promql(panel: &Value, known: &Known) -> Vec<String> {
    let options = Options::defaults();
    expressions(panel)
        .filter_map(|text| Some(format!("{:#}", known.query(&options.fill(text)).err()?)))
        .collect()
}

fn target_matcher(panel: &Value, known: &Known, label: &str) -> Vec<String> {
    let wanted = (label.to_owned(), format!("=~${label}"));
    // Another rule reports queries that do not parse.
    let selectors =
        expressions(panel).filter_map(|text| known.query(text).ok()).flat_map(|query| query.selectors);
    selectors
        .filter(|selector| !selector.matchers.contains(&wanted))
        .map(|selector| format!("{} is asked of all, not of the chosen", selector.series))
        .collect()
}

fn rate_interval(panel: &Value, _: &Known) -> Vec<String> {
    let fixed = expressions(panel)
        .flat_map(|text| text.split('[').skip(1))
        .find(|rest| !(rest.starts_with("$__rate_interval]") || rest.starts_with("$__range]")));
    complaint(fixed.is_some(), "a rate does not look back as far as the panel is wide")
}

fn counters(panel: &Value, known: &Known) -> Vec<String> {
    let selectors =
        expressions(panel).filter_map(|text| known.query(text).ok()).flat_map(|query| query.selectors);
    selectors
        .filter(|selector| known.contract.accumulates(&selector.series))
        .filter(|selector| {
            !selector.within.first().is_some_and(|around| OF_COUNTERS.contains(&around.as_str()))
        })
        .map(|selector| format!("{} is shown as it has grown", selector.series))
        .collect()
}

/// Links lead to pages and dashboards that exist.
fn links(panel: &Value, _: &Known) -> Vec<String> {
    let overrides = list(&panel["fieldConfig"]["overrides"]).flat_map(|it| list(&it["properties"]));
    let in_cells = overrides.filter(|it| it["id"] == "links").flat_map(|it| list(&it["value"]));
    let mut complaints = Vec::new();
    for url in list(&panel["links"]).chain(in_cells).filter_map(|link| link["url"].as_str()) {
        if let Some(path) = url.strip_prefix("/d/") {
            let uid = path.split('?').next().unwrap_or_default();
            if !dashboard::all().iter().any(|dashboard| dashboard::uid(dashboard.name) == uid) {
                complaints.push(format!("there is no dashboard {uid}"));
            }
        } else if !url.contains("${__value") {
            let page = url.rsplit('/').next().unwrap_or_default();
            if !root().join("docs/runbook").join(format!("{page}.md")).is_file() {
                complaints.push(format!("the runbook has no page {page}"));
            }
        }
    }
    complaints
}
