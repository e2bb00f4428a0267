//! The runbook has a page for each alert and no other, and its pages hold what they say.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::config::Parameters;
use crate::contract::Contract;
use crate::promql::analyse;
use crate::{dashboard, rules};
use xtask_tools::workspace::root;

/// The parts of a page, in this order.
const PARTS: [&str; 6] = [
    "What it means",
    "How bad it is",
    "What to look at",
    "Causes, and how to distinguish them",
    "Remedy",
    "Prevent",
];

pub(super) fn check() -> Result<Vec<String>> {
    let folder = root().join("docs/runbook");
    let mut pages = BTreeSet::new();
    let mut complaints = Vec::new();
    let known = Known::read()?;
    let mut index = String::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        complaints.extend(known.complaints(&text).into_iter().map(|what| format!("{name}: {what}")));
        if name == "README" {
            index = text;
            continue;
        }
        complaints.extend(form(&name, &text).into_iter().map(|what| format!("{name}: {what}")));
        pages.insert(name);
    }
    let alerts: BTreeSet<_> =
        rules::alerts(&Parameters::default()).iter().map(|alert| alert.name.to_owned()).collect();
    complaints.extend(alerts.difference(&pages).map(|name| format!("{name} has no page")));
    complaints.extend(pages.difference(&alerts).map(|name| format!("{name} is the page of no alert")));
    let unlisted = alerts.iter().filter(|name| !index.contains(&format!("({name}.md)")));
    complaints.extend(unlisted.map(|name| format!("README.md does not list {name}")));
    println!("{} pages", pages.len());
    Ok(complaints)
}

/// Whether a page has its name, its severity and its parts.
fn form(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if text.lines().next() != Some(&format!("# {name}")) {
        complaints.push("its heading is not its name".to_owned());
    }
    let parts: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    if parts != PARTS {
        complaints.push(format!("its parts are {parts:?}"));
    }
    let severity = rules::alerts(&Parameters::default())
        .iter()
        .find(|alert| alert.name == name)
        .map(|alert| alert.severity.name());
    if severity.is_some_and(|severity| !text.contains(&format!("Severity: {severity}"))) {
        complaints.push("it does not say the severity that the alert has".to_owned());
    }
    complaints
}

/// What a page may name.
struct Known {
    contract: Contract,
    recorded: crate::promql::Recorded,
    panels: BTreeSet<String>,
    scenarios: BTreeSet<String>,
}

impl Known {
    fn read() -> Result<Self> {
        let contract = Contract::read()?;
        let recorded = rules::recorded(&contract)?;
        let panels = dashboard::all()
            .iter()
            .flat_map(|dashboard| {
                let panels = dashboard.rows.iter().flat_map(|row| &row.panels);
                panels.map(|panel| format!("{} / {}", dashboard.title, panel.title)).collect::<Vec<_>>()
            })
            .collect();
        Ok(Self { contract, recorded, panels, scenarios: scenarios()? })
    }

    /// Queries that do not hold, panels and scenarios that do not exist.
    fn complaints(&self, text: &str) -> Vec<String> {
        let mut complaints = Vec::new();
        for query in blocks(text, "promql") {
            if let Err(error) = analyse(&query, &self.contract, &self.recorded) {
                complaints.push(format!("{error:#}"));
            }
        }
        for panel in marked(text, "Panel **") {
            if !self.panels.contains(panel) {
                complaints.push(format!("there is no panel {panel}"));
            }
        }
        for scenario in marked(text, "lab scenario **") {
            if !self.scenarios.contains(scenario) {
                complaints.push(format!("the lab has no scenario {scenario}"));
            }
        }
        complaints
    }
}

/// The names of the lab's scenarios, as their sources have them: the lab is not built for this.
fn scenarios() -> Result<BTreeSet<String>> {
    let folder = root().join("xtask/lab/guest/src/scenarios");
    let mut names = BTreeSet::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let quoted = text.split('"').skip(1).step_by(2);
            names.extend(quoted.filter(|word| word.contains('-') || !word.contains(' ')).map(str::to_owned));
        }
    }
    Ok(names)
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.trim()) {
            (None, fence) if fence.strip_prefix("```") == Some(language) => open = Some(String::new()),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some(block), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// What stands in bold after a word.
fn marked<'a>(text: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(mark).skip(1).filter_map(|rest| Some(rest.split_once("**")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_marks_are_found() {
        let text = "Panel **a / b**, lab scenario **x-y**\n```promql\nup\n== 0\n```\n```sh\nls\n```\n";
        assert_eq!(blocks(text, "promql"), ["up\n== 0\n"]);
        assert_eq!(marked(text, "Panel **").collect::<Vec<_>>(), ["a / b"]);
        assert_eq!(marked(text, "lab scenario **").collect::<Vec<_>>(), ["x-y"]);
    }

    #[test]
    fn missing_references_are_reported() -> Result<()> {
        let known = Known::read()?;
        assert!(known.scenarios.contains("starved-by-leak"));
        let wrong = "Panel **zcrx / Queue / Nothing** lab scenario **no-such-thing**\n```promql\nnone\n```\n";
        assert_eq!(known.complaints(wrong).len(), 3);
        Ok(())
    }
}
