//! `cargo xtask bench`: what zcrxd costs, in instructions of an emulated machine that counts them.

mod page;
mod record;
mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use xtask_tools::apt::Network;
use xtask_tools::workspace::root;

use self::record::{Elsewhere, Record};
use super::{Lab, Tally};

/// The page that the figures are written to.
const DOCUMENT: &str = "docs/overhead.md";
/// The scenario of the gated figures.
const GATES: &str = "cost-gates";
/// Most boots that measure them.
const BOOTS: usize = 3;
/// The recorded figures: the page is made from them, and a check compares with them.
const RECORD: &str = "xtask/lab/cost.toml";
/// What the guest's cost scenarios call their figures, before each figure's own name.
const PREFIX: &str = "cost/";

/// Figures by name, in instructions or bytes.
type Figures = BTreeMap<String, f64>;

/// A table of the page; each is measured in a boot of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Table {
    /// Receive loops
    Receive,
    /// Receiving without zcrx
    Copy,
    /// The default probes
    Probes,
    /// Start, samples, scrapes and memory
    Observe,
}

impl Table {
    /// The scenario that measures it.
    const fn scenario(self) -> &'static str {
        match self {
            Self::Receive => "cost-receive",
            Self::Copy => "cost-copy",
            Self::Probes => "cost-probes",
            Self::Observe => "cost-observe",
        }
    }
}

/// What to measure.
#[derive(Debug, Args)]
pub struct BenchOptions {
    /// Tables to measure; all if none is named. The figures of the others stay as they are recorded
    #[arg(value_name = "TABLE")]
    tables: Vec<Table>,
    /// Measure the gated figures only, write nothing, and fail if one has grown in each of three boots by more than 3 % (observing: 5 %)
    #[arg(long, conflicts_with = "tables")]
    check: bool,
    /// Measure the probes on this series, as in 7.3-arm64, instead of the newest, and show them beside the others
    #[arg(long, conflicts_with_all = ["tables", "check"])]
    kernel: Option<String>,
    /// Use only what was fetched before
    #[arg(long)]
    offline: bool,
}

/// Measures and writes the record and docs/overhead.md, or compares the gated figures with the recorded ones.
pub fn bench(options: &BenchOptions) -> Result<()> {
    let network = if options.offline { Network::Offline } else { Network::Online };
    let names: Vec<_> = options.kernel.iter().cloned().collect();
    let lab = Lab { counts: true, ..Lab::open(network, &names)? };
    let path = root().join(RECORD);
    if options.check {
        return check(&lab, &Record::read(&path)?);
    }
    let mut record = if path.exists() { Record::read(&path)? } else { Record::default() };
    if let Some(series) = &options.kernel {
        let (release, mut figures) = measure(&lab, &names, Table::Probes.scenario())?;
        take_least(&mut figures, measure(&lab, &names, Table::Probes.scenario())?.1);
        record.elsewhere.insert(series.clone(), Elsewhere { release, figures });
        return write(&record, &path);
    }
    let tables = if options.tables.is_empty() { Table::value_variants() } else { &options.tables };
    for table in tables {
        let (release, mut figures) = measure(&lab, &[], table.scenario())?;
        if *table != Table::Observe {
            take_least(&mut figures, measure(&lab, &[], table.scenario())?.1);
        }
        record.update(release, figures);
        // After each table: a later one that fails does not take the figures of this one with it.
        write(&record, &path)?;
    }
    Ok(())
}

fn write(record: &Record, path: &Path) -> Result<()> {
    record.write(path)?;
    fs::write(root().join(DOCUMENT), page::render(record))
        .with_context(|| format!("cannot write {DOCUMENT}"))?;
    println!("written to {RECORD} and {DOCUMENT}");
    Ok(())
}

/// Compares the gated figures with the recorded ones; measures again where one has grown.
fn check(lab: &Lab, record: &Record) -> Result<()> {
    let (release, mut figures) = measure(lab, &[], GATES)?;
    let mut compared = record.compare(&release, &figures);
    for _ in 1..BOOTS {
        let Err(error) = &compared else { break };
        println!("measured again: {error}");
        take_least(&mut figures, measure(lab, &[], GATES)?.1);
        compared = record.compare(&release, &figures);
    }
    compared
}

/// Keeps the lesser of two measurements of each figure. In one boot of ten or so receiver and sender fall into another rhythm, in which
/// a completion costs a quarter more, or twice as much; what costs more for another reason does so in every boot.
fn take_least(figures: &mut Figures, again: Figures) {
    for (name, figure) in again {
        figures.entry(name).and_modify(|known| *known = known.min(figure)).or_insert(figure);
    }
}

/// Runs a cost scenario on the named kernel, or the newest; returns the kernel's release, and the figures.
fn measure(lab: &Lab, names: &[String], scenario: &str) -> Result<(String, Figures)> {
    let scenarios = lab.scenarios(&[scenario.to_owned()])?;
    let mut tally = Tally::default();
    let mut figures = Figures::new();
    let mut release = String::new();
    for row in lab.rows(names)? {
        let report = lab.run_row(&row, &scenarios, false)?;
        tally.add(&report);
        for (name, value) in &report.facts {
            let Some(name) = name.strip_prefix(PREFIX) else { continue };
            let value = value.parse().with_context(|| format!("{name} is no number: {value}"))?;
            figures.insert(name.to_owned(), value);
        }
        release = report.release.unwrap_or(release);
    }
    lab.close(&tally)?;
    if tally.passed < scenarios.len() {
        bail!("{scenario} could not be run here: there are no figures");
    }
    Ok((release, figures))
}
