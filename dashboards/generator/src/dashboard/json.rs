//! The JSON of a dashboard, as Grafana 11 and later import it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::panel::{GREEN, NEUTRAL, PLAIN};
use super::{Dashboard, Kind, Panel, uid};

/// The version of the schema: newer Grafanas bring it up to theirs.
const SCHEMA: u32 = 41;

/// Columns of the page.
const WIDTH: u32 = 24;

/// Where the cells of tables link to.
const QUEUE_LINK: &str = "/d/zcrx-queue?${__url_time_range}&${datasource:queryparam}&${job:queryparam}\
    &var-instance=${__data.fields.instance}&var-interface=${__data.fields.interface}&var-queue=${__data.fields.queue}";
const HOST_LINK: &str = "/d/zcrx-daemon?${__url_time_range}&${datasource:queryparam}&${job:queryparam}&var-instance=${__value.text}";
/// zcrxd serves the runbook on every host.
const RUNBOOK_LINK: &str = "http://${__data.fields.instance}/runbook/${__value.text}";

/// The file of a dashboard.
pub(crate) fn render(dashboard: &Dashboard) -> String {
    let value = json!({
        // The data source is a variable: an import asks for no other input.
        "__elements": {},
        "__inputs": [],
        "__requires": requires(dashboard),
        "annotations": { "list": annotations(dashboard) },
        "description": dashboard.description,
        "editable": false,
        "graphTooltip": 1,
        "id": null,
        "links": links(dashboard),
        "panels": panels(dashboard),
        "refresh": "30s",
        "schemaVersion": SCHEMA,
        "tags": ["zcrx"],
        "templating": { "list": variables(dashboard) },
        "time": { "from": format!("now-{}", dashboard.from), "to": "now" },
        "timezone": "",
        "title": dashboard.title,
        "uid": uid(dashboard.name),
        "version": 1,
    });
    // Maps are sorted: the same tables give the same file.
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

/// What the dashboard needs, as an export for sharing lists it: Grafana, the data source, the kinds of panels.
fn requires(dashboard: &Dashboard) -> Vec<Value> {
    let panels = dashboard.rows.iter().flat_map(|row| &row.panels).map(panel_type);
    let panels: BTreeSet<&str> = panels.collect();
    let need = |kind: &str, id: &str, name: &str, version: &str| json!({ "id": id, "name": name, "type": kind, "version": version });
    let mut needs = vec![
        need("grafana", "grafana", "Grafana", "11.0.0"),
        need("datasource", "prometheus", "Prometheus", "1.0.0"),
    ];
    needs.extend(panels.into_iter().map(|panel| need("panel", panel, panel, "")));
    needs
}

fn panel_type(panel: &Panel) -> &'static str {
    match panel.kind {
        Kind::Lines | Kind::Stack => "timeseries",
        Kind::Stat => "stat",
        Kind::Table => "table",
        Kind::Bars => "bargauge",
        Kind::States => "state-timeline",
    }
}

fn links(dashboard: &Dashboard) -> Vec<Value> {
    let others = json!({
        "asDropdown": false,
        "includeVars": true,
        "keepTime": true,
        "tags": ["zcrx"],
        "title": "zcrx",
        "type": "dashboards",
    });
    let host = |title: &str, url: &str| json!({ "icon": "doc", "targetBlank": true, "title": title, "type": "link", "url": url });
    let mut links = vec![others];
    if dashboard.one_host {
        links.push(host("Page of this host", "http://${instance}/"));
        links.push(host("Runbook", "http://${instance}/runbook"));
    }
    links
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn annotations(dashboard: &Dashboard) -> Vec<Value> {
    let host = "job=~\"$job\",instance=~\"$instance\"";
    let queue = if dashboard.of_queues { ",interface=~\"$interface|\",queue=~\"$queue|\"" } else { "" };
    let firing = format!("ALERTS{{alertname=~\"Zcrx.+\",alertstate=\"firing\",{host}{queue}}}");
    // Where the dashboard shows no single queue: whether a host has one in an episode, and only on request.
    let (episodes, of) = if dashboard.of_queues {
        let queue = ",interface=~\"$interface\",queue=~\"$queue\"";
        (format!("zcrx_queue_episode_active{{{host}{queue}}} == 1"), "{{interface}}:{{queue}}")
    } else {
        (format!("instance:zcrx_queue_episode_active:sum{{{host}}} > 0"), "queues")
    };
    vec![
        json!({
            "datasource": source(),
            "enable": dashboard.of_queues,
            "expr": episodes,
            "iconColor": "orange",
            "name": "Episodes",
            "step": "60s",
            "textFormat": format!("{{{{instance}}}} {of}"),
            "titleFormat": format!("Episode of {of}"),
        }),
        json!({
            "datasource": source(),
            "enable": true,
            "expr": firing,
            "iconColor": "red",
            "name": "Alerts",
            "step": "60s",
            "tagKeys": "severity",
            "textFormat": "{{instance}} {{interface}} {{queue}}",
            "titleFormat": "{{alertname}}",
        }),
        json!({
            "datasource": source(),
            "enable": true,
            "expr": format!("process_start_time_seconds{{{host}}} * 1000 and on (job, instance) zcrxd_build_info{{{host}}}"),
            "iconColor": "blue",
            "name": "zcrxd started",
            "step": "60s",
            "titleFormat": "zcrxd started on {{instance}}",
            "useValueForTime": true,
        }),
    ]
}

fn variables(dashboard: &Dashboard) -> Vec<Value> {
    // A view of one host or queue opens on the first one: all of them would be a query for each panel and series.
    let query = |name: &str, label: &str, query: &str, all: Option<&str>| {
        let current =
            all.map_or(json!({}), |_| json!({ "selected": true, "text": "All", "value": "$__all" }));
        json!({
            "allValue": all,
            "current": current,
            "datasource": source(),
            "definition": query,
            "includeAll": all.is_some(),
            "label": label,
            "multi": all.is_some(),
            "name": name,
            "query": query,
            "refresh": 2,
            "sort": 3,
            "type": "query",
        })
    };
    let host = "job=~\"$job\",instance=~\"$instance\"";
    let any = (!dashboard.one_host).then_some(".+");
    let mut variables = vec![
        json!({
            "current": {},
            "label": "Data source",
            "name": "datasource",
            "query": "prometheus",
            "refresh": 1,
            "type": "datasource",
        }),
        query("job", "Job", "label_values(zcrxd_build_info, job)", Some(".+")),
        query("instance", "Instance", "label_values(zcrxd_build_info{job=~\"$job\"}, instance)", any),
    ];
    if dashboard.of_queues {
        let interfaces = format!("label_values(zcrx_queue_episode_active{{{host}}}, interface)");
        let queues =
            format!("label_values(zcrx_queue_episode_active{{{host},interface=~\"$interface\"}}, queue)");
        variables.push(query("interface", "Interface", &interfaces, any));
        variables.push(query("queue", "Queue", &queues, any));
    }
    variables
}

/// Rows after the first ones are folded: what is folded asks nothing until it is opened.
fn panels(dashboard: &Dashboard) -> Vec<Value> {
    let mut all = Vec::new();
    let (mut id, mut y) = (0, 0);
    for (index, row) in dashboard.rows.iter().enumerate() {
        id += 1;
        let row_id = id;
        let row_y = y;
        y += 1;
        let (mut x, mut tallest) = (0, 0);
        let mut inside = Vec::new();
        for panel in &row.panels {
            if x + panel.width > WIDTH {
                y += tallest;
                (x, tallest) = (0, 0);
            }
            id += 1;
            inside.push(one(panel, id, (x, y), dashboard.one_host));
            x += panel.width;
            tallest = tallest.max(panel.height());
        }
        y += tallest;
        let folded = index >= dashboard.open_rows;
        let place = json!({ "h": 1, "w": WIDTH, "x": 0, "y": row_y });
        let within = if folded { std::mem::take(&mut inside) } else { Vec::new() };
        all.push(json!({
            "collapsed": folded, "gridPos": place, "id": row_id, "panels": within, "title": row.title, "type": "row",
        }));
        all.extend(inside);
        if folded {
            y = row_y + 1;
        }
    }
    all
}

fn one(panel: &Panel, id: usize, (x, y): (u32, u32), one_host: bool) -> Value {
    let now = matches!(panel.kind, Kind::Table | Kind::Bars | Kind::Stat);
    let targets: Vec<_> = ('A'..='Z')
        .zip(&panel.targets)
        .map(|(id, target)| {
            json!({
                "datasource": source(),
                "editorMode": "code",
                "expr": target.query,
                "format": if panel.kind == Kind::Table { "table" } else { "time_series" },
                "instant": now,
                "legendFormat": target.legend,
                "range": !now,
                "refId": id.to_string(),
            })
        })
        .collect();
    let page = panel.runbook.filter(|_| one_host).map(|alert| {
        let (title, url) = (format!("Runbook: {alert}"), format!("http://${{instance}}/runbook/{alert}"));
        json!({ "targetBlank": true, "title": title, "url": url })
    });
    let links: Vec<_> = page.into_iter().collect();
    json!({
        "datasource": source(),
        "description": panel.description,
        "fieldConfig": { "defaults": defaults(panel), "overrides": overrides(panel) },
        "gridPos": { "h": panel.height(), "w": panel.width, "x": x, "y": y },
        "id": id,
        "links": links,
        "options": options(panel),
        "targets": targets,
        "title": panel.title,
        "transformations": transformations(panel),
        "type": panel_type(panel),
    })
}

/// The colour of a panel, and the steps of its thresholds. Grafana gives a missing value the colour of the first step: where a
/// colour is a judgement, that step is neutral.
fn colours(panel: &Panel) -> (Value, Vec<Value>) {
    let step = |value: Option<f64>, colour: &str| json!({ "color": colour, "value": value });
    let steps = panel.thresholds.iter().map(|(value, colour)| step(Some(*value), colour));
    match panel.kind {
        Kind::Lines | Kind::Stack => {
            (json!({ "mode": "palette-classic" }), std::iter::once(step(None, GREEN)).chain(steps).collect())
        }
        Kind::Table => (json!({ "mode": "thresholds" }), vec![step(None, NEUTRAL)]),
        Kind::Stat | Kind::Bars | Kind::States if panel.thresholds.is_empty() => {
            (json!({ "mode": "fixed", "fixedColor": PLAIN }), vec![step(None, NEUTRAL)])
        }
        Kind::Stat | Kind::Bars | Kind::States => {
            let good = panel.thresholds.iter().all(|(value, _)| *value > 0.0).then(|| step(Some(0.0), GREEN));
            let steps = std::iter::once(step(None, NEUTRAL)).chain(good).chain(steps).collect();
            (json!({ "mode": "thresholds" }), steps)
        }
    }
}

fn defaults(panel: &Panel) -> Value {
    let (colour, steps) = colours(panel);
    let lines = matches!(panel.kind, Kind::Lines | Kind::Stack);
    let mut defaults = json!({
        "color": colour,
        "mappings": [],
        "thresholds": { "mode": "absolute", "steps": steps },
        "unit": panel.unit,
    });
    if panel.unit != "none" {
        defaults["min"] = json!(0);
    }
    if let Some(max) = panel.max {
        defaults["max"] = json!(max);
    }
    if lines {
        let stacked = panel.kind == Kind::Stack;
        defaults["custom"] = json!({
            "fillOpacity": if stacked { 40 } else { 8 },
            "lineWidth": 1,
            "showPoints": "never",
            "stacking": { "group": "A", "mode": if stacked { "normal" } else { "none" } },
            "thresholdsStyle": { "mode": if panel.thresholds.is_empty() { "off" } else { "dashed" } },
        });
    }
    defaults
}

/// In tables, the labels that name something one can go to are links.
fn overrides(panel: &Panel) -> Vec<Value> {
    if panel.kind != Kind::Table {
        return Vec::new();
    }
    let link = |column: &str, title: &str, url: &str| {
        json!({
            "matcher": { "id": "byName", "options": column },
            "properties": [{ "id": "links", "value": [{ "title": title, "url": url }] }],
        })
    };
    vec![
        link("alertname", "Runbook", RUNBOOK_LINK),
        link("instance", "zcrxd on this host", HOST_LINK),
        link("queue", "This queue", QUEUE_LINK),
    ]
}

fn options(panel: &Panel) -> Value {
    let last = json!({ "calcs": ["lastNotNull"], "fields": "", "values": false });
    match panel.kind {
        Kind::Lines | Kind::Stack => json!({
            "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": true },
            "tooltip": { "mode": "multi", "sort": "desc" },
        }),
        Kind::Stat => {
            json!({ "colorMode": "value", "graphMode": "none", "reduceOptions": last, "textMode": "auto" })
        }
        Kind::Table => json!({ "cellHeight": "sm", "showHeader": true }),
        Kind::Bars => json!({ "displayMode": "basic", "orientation": "horizontal", "reduceOptions": last }),
        Kind::States => json!({ "mergeValues": true, "rowHeight": 0.9, "showValue": "never" }),
    }
}

fn transformations(panel: &Panel) -> Vec<Value> {
    if panel.kind != Kind::Table {
        return Vec::new();
    }
    let hidden = ["Time", "__name__", "job"].iter().chain(&panel.hidden);
    let exclude: serde_json::Map<_, _> = hidden.map(|&column| (column.to_owned(), json!(true))).collect();
    let mut rename = serde_json::Map::new();
    if let Some(value) = panel.value {
        rename.insert("Value".to_owned(), json!(value));
    }
    vec![
        json!({ "id": "organize", "options": { "excludeByName": exclude, "indexByName": {}, "renameByName": rename } }),
    ]
}
