//! `cargo xtask lab matrix`: every scenario on every kernel, as a table.

use std::fs;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use zcrx_lab_guest::protocol::ScenarioInfo;

use super::kernels::Row;
use super::session::Report;
use super::table::{Column, Table};
use super::{Lab, Tally, host_row};
use xtask_tools::workspace::root;

/// The table of kernels.
const DOCUMENT: &str = "docs/kernels.md";

/// Measures every kernel, prints the table, and writes it or compares it with the one that is committed.
pub(super) fn run(lab: &Lab, check: bool) -> Result<()> {
    let scenarios: Vec<_> = lab.programs.scenarios()?.into_iter().filter(is_in_the_matrix).collect();
    let mut tally = Tally::default();
    let (everywhere, newest): (Vec<_>, Vec<_>) = scenarios.iter().cloned().partition(is_for_every_kernel);
    let rows = lab.kernels.rows();
    // Fetching and building want one folder: nothing is left of that to do when two kernels run at a time.
    for kernel in rows.iter().filter_map(|row| row.kernel.as_ref().ok()) {
        if let Err(error) = lab.machine(kernel, &lab.directory.join("prepared")) {
            println!("{}: {error:#}", kernel.release);
        }
    }
    let measure = |row: &Row, scenarios: &[ScenarioInfo]| -> Result<Column> {
        Ok(Column { series: row.series.clone(), report: lab.run_row(row, scenarios, true)? })
    };
    let (first, older) = rows.split_first().context("there are kernels")?;
    let host = host_row();
    // The newest has about as much to do as all others together, and an emulated machine keeps little more than one CPU busy.
    let (first, others) = thread::scope(|scope| {
        let first = scope.spawn(|| measure(first, &scenarios));
        let others: Result<Vec<_>> =
            older.iter().chain([&host]).map(|row| measure(row, &everywhere)).collect();
        (first.join(), others)
    });
    let mut others = others?;
    for column in &mut others {
        let left = Report::skipped(&newest, "takes long: the newest kernel only");
        column.report.verdicts.extend(left.verdicts);
    }
    let mut columns = vec![first.map_err(|_| anyhow!("the thread of the newest kernel panicked"))??];
    columns.append(&mut others);
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
