//! Dashboards, as tables of panels; written as the JSON that Grafana imports.
//!
//! In queries `{HOST` stands for the matchers that the variables job and instance ask for, `{QUEUE` for those and the
//! queue's; more matchers may follow after a comma.

mod daemon;
mod declared;
mod fleet;
mod json;
mod panel;
mod queue;
mod starvation;

pub(super) use self::json::render;
pub(super) use self::panel::{Kind, Panel};

/// One dashboard.
#[derive(Clone, Debug)]
pub(super) struct Dashboard {
    /// Its file and the end of its uid.
    pub name: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// What question it answers.
    pub description: &'static str,
    /// Whether one chooses a queue.
    pub of_queues: bool,
    /// Whether one looks at one host at a time (and one queue, if one chooses a queue).
    pub one_host: bool,
    /// How many rows are open when the dashboard is opened; the others are folded.
    pub open_rows: usize,
    /// How far back it looks when it is opened.
    pub from: &'static str,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// Panels under one heading.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The heading.
    pub title: &'static str,
    /// From left to right, then down.
    pub panels: Vec<Panel>,
}

/// Every dashboard, with the panels that metrics declare for themselves.
pub(super) fn all() -> Vec<Dashboard> {
    let mut all = vec![fleet::dashboard(), queue::dashboard(), starvation::dashboard(), daemon::dashboard()];
    declared::add(&mut all);
    all
}

/// The uid of a dashboard, by which others link to it.
pub(super) fn uid(name: &str) -> String {
    format!("zcrx-{name}")
}
