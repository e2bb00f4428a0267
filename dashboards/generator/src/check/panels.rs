//! Every query holds, and what is said of its answer is in the answer.

use anyhow::Result;

use crate::config::Parameters;
use crate::contract::Contract;
use crate::promql::analyse;
use crate::queries::{Options, all};
use crate::{dashboard, rules};

pub(super) fn check() -> Result<Vec<String>> {
    let options = Options::defaults();
    // Fails at the first query that does not hold.
    let queries = all(&options)?;
    println!("{} queries", queries.len());
    let contract = Contract::read()?;
    let recorded = rules::recorded(&contract)?;
    let mut complaints = Vec::new();
    for dashboard in dashboard::all() {
        for panel in dashboard.rows.iter().flat_map(|row| &row.panels) {
            for target in &panel.targets {
                let labels = analyse(&options.fill(&target.query), &contract, &recorded)?.labels;
                for named in between(target.legend, "{{", "}}") {
                    if !labels.contains(named) {
                        complaints.push(format!(
                            "{} / {}: the legend names {named}, the answer has {labels:?}",
                            dashboard.title, panel.title
                        ));
                    }
                }
            }
        }
    }
    for alert in rules::alerts(&Parameters::default()) {
        let labels = analyse(&alert.query, &contract, &recorded)?.labels;
        for text in [&alert.summary, &alert.description] {
            for rest in text.split("$labels.").skip(1) {
                let named =
                    rest.split(|char: char| !(char.is_alphanumeric() || char == '_')).next().unwrap_or("");
                if !labels.contains(named) {
                    complaints
                        .push(format!("{}: its text names the label {named}, it has {labels:?}", alert.name));
                }
            }
            for query in between(text, "printf `", "`") {
                if let Err(error) = analyse(&query.replace("%q", "\"x\""), &contract, &recorded) {
                    complaints.push(format!("{}: a query in its text: {error:#}", alert.name));
                }
            }
        }
    }
    Ok(complaints)
}

/// What stands between two marks, each time.
fn between<'a>(text: &'a str, open: &'a str, close: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(open).skip(1).filter_map(move |rest| Some(rest.split_once(close)?.0.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_marks() {
        assert_eq!(between("a {{x}} b {{ y }} {{z", "{{", "}}").collect::<Vec<_>>(), ["x", "y"]);
    }
}
