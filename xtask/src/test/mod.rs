//! `cargo xtask test`: every check, each independent of the result of the others, and one table at the end.

mod commands;
mod embedded;
mod language;
mod licences;
mod links;
mod monitoring;
mod prerequisites;
mod rooms;
mod rust;
mod summary;
mod units;

use std::cell::OnceCell;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::prerequisites::Prerequisites;
use self::summary::{Outcome, Row, Tally};
use crate::regenerate;
use crate::setup::{self, Record};
use xtask_tools::cache::Cache;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these checks (may be repeated)
    #[arg(long, value_name = "CHECK")]
    only: Vec<Check>,
    /// Boot no kernels
    #[arg(long)]
    no_lab: bool,
    /// Run the lab on every kernel of the support statement instead of the newest
    #[arg(long, conflicts_with = "no_lab")]
    matrix: bool,
}

/// One check, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The eBPF toolchain can be prepared
    Setup,
    /// Programs that other checks need: found or fetched
    Prerequisites,
    /// rustfmt
    Format,
    /// Relative links of the documents
    Links,
    /// The daemon's modules import what docs/architecture.md allows, and no two files import each other
    Rooms,
    /// What `cargo xtask regenerate` writes for the lab is current; the other generated files have tests of their own
    Generated,
    /// Words, terms and metric help, by the project's list
    Language,
    /// systemd units: nothing wrong in them, and exposed less than 2.0
    Units,
    /// Rules, alerts, dashboards and runbook, against each other and against the metrics there are
    Monitoring,
    /// clippy, for the host
    Lint,
    /// clippy, for the BPF target
    LintBpf,
    /// Unit and integration tests, and models of the lock-free parts
    Tests,
    /// Examples in the documentation
    DocTests,
    /// rustdoc
    Docs,
    /// The daemon carries its eBPF programs
    Embedded,
    /// What a daemon with one queue and with several exports: documented, and as much as docs/fleet.md says
    Scrape,
    /// The demo, in short
    Demo,
    /// Real kernels in virtual machines
    Lab,
    /// The gated costs, in instructions, against the recorded ones of docs/overhead.md
    Cost,
    /// The Debian package and the service, in a virtual machine with systemd and Prometheus
    Service,
    /// cargo-deny: licences, bans, sources
    Licences,
    /// cargo-deny: known vulnerabilities
    Advisories,
}

/// What the checks share.
struct Bench<'a> {
    cache: &'a Cache,
    options: &'a Options,
    toolchain: OnceCell<Record>,
    prerequisites: OnceCell<Prerequisites>,
}

/// Runs the checks that were asked for; fails if any failed.
pub(crate) fn run(cache: &Cache, options: &Options) -> Result<()> {
    let bench = Bench { cache, options, toolchain: OnceCell::new(), prerequisites: OnceCell::new() };
    let mut rows = Vec::new();
    for &check in Check::value_variants() {
        let named = options.only.contains(&check);
        let left_out = match check {
            Check::Lab | Check::Cost | Check::Service => options.no_lab,
            _ => false,
        };
        if left_out || !(options.only.is_empty() || named) {
            continue;
        }
        let name = check.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        println!("\n== {name} ==");
        let begin = Instant::now();
        let outcome = bench.perform(check).unwrap_or_else(|error| {
            println!("error: {error:#}");
            Outcome::Checked(Tally::one(false))
        });
        rows.push(Row { name, outcome, took: begin.elapsed() });
    }
    println!("\n{}\n", summary::table(&rows));
    let total: Tally = rows.iter().map(|row| row.outcome.tally()).sum();
    println!("{total}");
    if total.failed > 0 {
        bail!("some checks failed");
    }
    Ok(())
}

/// Fails for each generated file that is stale.
fn generated() -> Result<Outcome> {
    let stale = regenerate::stale()?;
    for path in &stale {
        println!("{path} is stale: cargo xtask regenerate");
    }
    Ok(Outcome::Checked(Tally::one(stale.is_empty())))
}

impl Bench<'_> {
    fn perform(&self, check: Check) -> Result<Outcome> {
        match check {
            Check::Setup => self.toolchain().map(|_| Outcome::Checked(Tally::one(true))),
            Check::Prerequisites => Ok(self.prerequisites().outcome()),
            Check::Format => rust::format(),
            Check::Links => links::check(),
            Check::Rooms => rooms::check(),
            Check::Generated => generated(),
            Check::Language => language::check(),
            Check::Units => units::check(),
            Check::Monitoring => Ok(monitoring::documents(self.prerequisites())),
            Check::Lint => rust::lint(),
            Check::LintBpf => match self.toolchain() {
                Ok(toolchain) => rust::lint_bpf(toolchain),
                Err(error) => Ok(Outcome::Skipped(format!("no eBPF toolchain: {error}"))),
            },
            Check::Tests => rust::tests(self.prerequisites()),
            Check::DocTests => rust::doc_tests(),
            Check::Docs => rust::docs(),
            Check::Embedded => embedded::check(),
            Check::Scrape => monitoring::scrape(self.prerequisites()),
            Check::Demo => commands::demo(self.prerequisites()),
            Check::Lab => commands::lab(self.prerequisites(), self.options.matrix),
            Check::Cost => commands::cost(self.prerequisites()),
            Check::Service => commands::service(self.prerequisites()),
            Check::Licences => licences::check(self.cache),
            Check::Advisories => licences::advisories(self.cache),
        }
    }

    fn toolchain(&self) -> Result<&Record> {
        if let Some(toolchain) = self.toolchain.get() {
            return Ok(toolchain);
        }
        let toolchain = setup::run(self.cache)?;
        Ok(self.toolchain.get_or_init(|| toolchain))
    }

    fn prerequisites(&self) -> &Prerequisites {
        self.prerequisites.get_or_init(|| Prerequisites::get(self.cache, !self.options.no_lab))
    }
}
