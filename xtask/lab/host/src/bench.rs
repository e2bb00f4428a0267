//! `cargo xtask bench`: what zcrxd costs, in instructions of an emulated machine that counts them.

mod gates;
mod page;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;
use xtask_tools::apt::Network;
use xtask_tools::workspace::root;

use super::{Lab, Tally};

/// The page that the figures are written to.
const DOCUMENT: &str = "docs/overhead.md";
/// The figures that must not grow.
const GATES: &str = "xtask/lab/cost-gates.toml";
/// What the guest's cost scenarios call their figures, before each figure's own name.
const PREFIX: &str = "cost/";

/// Figures by name, in instructions or bytes.
type Figures = BTreeMap<String, f64>;

/// What to measure.
#[derive(Debug, Args)]
pub struct BenchOptions {
    /// Measure the gated figures only, write nothing, and fail if one has grown by more than 3 %
    #[arg(long)]
    check: bool,
    /// Use only what was fetched before
    #[arg(long)]
    offline: bool,
}

/// Measures, and writes docs/overhead.md and the gates, or holds the gated figures against the recorded ones.
pub fn bench(options: &BenchOptions) -> Result<()> {
    let network = if options.offline { Network::Offline } else { Network::Online };
    let lab = Lab { counts: true, ..Lab::open(network)? };
    if options.check {
        let recorded = gates::read(&root().join(GATES))?;
        let (_, measured) = measure(&lab, &["cost-gates"])?;
        return gates::hold(&recorded, &measured);
    }
    let (release, all) = measure(&lab, &["cost-receive", "cost-probes", "cost-observe"])?;
    let (_, gated) = measure(&lab, &["cost-gates"])?;
    fs::write(root().join(DOCUMENT), page::render(&release, &all))
        .with_context(|| format!("cannot write {DOCUMENT}"))?;
    fs::write(root().join(GATES), gates::render(&gated)).with_context(|| format!("cannot write {GATES}"))?;
    println!("written to {DOCUMENT} and {GATES}");
    Ok(())
}

/// Runs cost scenarios on the newest kernel: its release, and the figures.
fn measure(lab: &Lab, names: &[&str]) -> Result<(String, Figures)> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let scenarios = lab.scenarios(&names)?;
    let mut tally = Tally::default();
    let mut figures = Figures::new();
    let mut release = String::new();
    for row in lab.rows(&[])? {
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
        bail!("not all cost scenarios could be run here: there are no figures");
    }
    Ok((release, figures))
}
