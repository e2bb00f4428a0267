//! `cargo xtask lab matrix`: every scenario on every kernel, as a table.

use std::fs;
use std::thread;

use anyhow::{Context, Result, bail};
use zcrx_lab_guest::protocol::ScenarioInfo;

use super::kernels::Row;
use super::session::Report;
use super::table::{Column, Table};
use super::{Lab, Tally, host_row};
use crate::tools::workspace::root;

/// The table of kernels.
const DOCUMENT: &str = "docs/kernels.md";

/// Measures every kernel, prints the table, and writes it or compares it with the one that is committed.
pub(super) fn run(lab: &Lab, check: bool) -> Result<()> {
    let scenarios: Vec<_> = lab.programs.scenarios()?.into_iter().filter(is_in_the_matrix).collect();
    let mut tally = Tally::default();
    let mut columns = Vec::new();
    let (everywhere, newest): (Vec<_>, Vec<_>) = scenarios.iter().cloned().partition(is_for_every_kernel);
    let rows = lab.kernels.rows();
    // Fetching and building want one folder: nothing is left of that to do when two kernels run at a time.
    for kernel in rows.iter().filter_map(|row| row.kernel.as_ref().ok()) {
        if let Err(error) = lab.machine(kernel, &lab.directory.join("prepared")) {
            println!("{}: {error:#}", kernel.release);
        }
    }
    let row = |row: &Row, scenarios: &[ScenarioInfo], left: &[ScenarioInfo], why: &str| -> Result<Column> {
        let mut report = lab.run_row(row, scenarios, true)?;
        report.verdicts.extend(Report::skipped(left, why).verdicts);
        Ok(Column { series: row.series.clone(), report })
    };
    let (first, others) = rows.split_first().context("there are kernels")?;
    // The newest has about as much to do as all others together, and an emulated machine keeps little more than one CPU busy.
    let (first, others) = thread::scope(|scope| {
        let all: Vec<_> = everywhere.iter().chain(&newest).cloned().collect();
        let first = scope.spawn(move || row(first, &all, &[], ""));
        let host = host_row();
        let others: Result<Vec<_>> = others
            .iter()
            .chain([&host])
            .map(|other| row(other, &everywhere, &newest, "takes long: the newest kernel only"))
            .collect();
        (first.join(), others)
    });
    columns.push(first.map_err(|_| anyhow::anyhow!("the thread of the newest kernel panicked"))??);
    columns.extend(others?);
    for column in &columns {
        tally.add(&column.report);
    }
    let (host, kernels) = columns.split_last().context("the host's kernel has a column")?;
    let table = Table { kernels, host: Some(host), scenarios: &scenarios };
    let document = table.document();
    println!("\n{document}");
    let path = root().join(DOCUMENT);
    if check {
        let committed =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let differences = table.differences(&committed);
        for difference in &differences {
            println!("{DOCUMENT} is stale: {difference}");
        }
        lab.close(&tally)?;
        if !differences.is_empty() {
            bail!("{DOCUMENT} is stale in {} places; run `cargo xtask lab matrix`", differences.len());
        }
        return Ok(());
    }
    fs::write(&path, document).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to {DOCUMENT}");
    lab.close(&tally)
}

/// Whether the matrix has a scenario at all: what takes a quarter of an hour is run by name.
fn is_in_the_matrix(scenario: &ScenarioInfo) -> bool {
    const LONG: u64 = 900;
    scenario.limit < LONG
}

/// Whether the matrix runs a scenario on older kernels too: all of the default set, and what is quick.
///
/// The rest can be run there by name.
fn is_for_every_kernel(scenario: &ScenarioInfo) -> bool {
    const QUICK: u64 = 240;
    scenario.default || scenario.limit < QUICK
}
