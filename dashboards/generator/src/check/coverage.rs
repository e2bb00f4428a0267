//! Every metric is on a dashboard or in an alert, or it is said why not.

use std::collections::BTreeSet;

use anyhow::Result;

use super::exceptions::Exceptions;
use crate::contract::Contract;
use crate::promql::analyse;
use crate::queries::{Options, all};
use crate::rules;

pub(super) fn check() -> Result<Vec<String>> {
    let contract = Contract::read()?;
    let recorded = rules::recorded(&contract)?;
    let exceptions = Exceptions::read()?;
    let mut read = BTreeSet::new();
    for listed in all(&Options::defaults())? {
        for selector in analyse(&listed.query, &contract, &recorded)?.selectors {
            let family = contract.of_series(&selector.series).map(|(name, _)| name.to_owned());
            read.insert(family.unwrap_or(selector.series));
        }
    }
    let there_are: BTreeSet<_> = contract.metrics.keys().chain(recorded.keys()).cloned().collect();
    let declared = contract.metrics.values().filter(|metric| metric.no_panel.is_some());
    let declared = declared.map(|metric| metric.name.clone());
    let excepted = exceptions.unread.iter().map(|exception| exception.name.clone()).chain(declared).collect();
    let mut complaints = compare(&there_are, &read, &excepted);
    complaints.extend(exceptions.unreasoned());
    println!("{} metrics and recorded series, {} excepted", there_are.len(), excepted.len());
    Ok(complaints)
}

fn compare(
    there_are: &BTreeSet<String>,
    read: &BTreeSet<String>,
    excepted: &BTreeSet<String>,
) -> Vec<String> {
    let forgotten = there_are.iter().filter(|name| !(read.contains(*name) || excepted.contains(*name)));
    let forgotten = forgotten.map(|name| {
        format!(
            "no dashboard and no alert reads {name}: add .panel(..) or .no_panel(..) to its declaration (a recorded series: dashboards/exceptions.toml)"
        )
    });
    let needless = excepted.iter().filter_map(|name| {
        if read.contains(name) {
            Some(format!("{name} is excepted, but it is read"))
        } else if there_are.contains(name) {
            None
        } else {
            Some(format!("{name} is excepted, but there is no such series"))
        }
    });
    forgotten.chain(needless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_and_what_is_needlessly_excepted() {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let complaints = compare(&set(&["a", "b", "c", "d"]), &set(&["a", "b"]), &set(&["b", "c", "e"]));
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints[0].contains("reads d:"));
        assert!(complaints[1].starts_with("b is excepted, but it is read"));
        assert!(complaints[2].starts_with("e is excepted, but there is no"));
    }
}
