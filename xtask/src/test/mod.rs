//! `cargo xtask test`: every check there is, each whatever became of the others, and one table at the end.

mod embedded;
mod licences;
mod links;
mod rust;
mod summary;

use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::summary::{Outcome, Row, Tally};
use crate::setup::{self, Record};
use crate::tools::cache::Cache;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these checks (may be repeated)
    #[arg(long, value_name = "CHECK")]
    only: Vec<Check>,
}

/// One check, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// The eBPF toolchain can be prepared
    Setup,
    /// rustfmt
    Format,
    /// Relative links of the documents
    Links,
    /// clippy, for the host
    Lint,
    /// clippy, for the BPF target
    LintBpf,
    /// Unit and integration tests
    Tests,
    /// Examples in the documentation
    DocTests,
    /// rustdoc
    Docs,
    /// Models of the lock-free parts, all interleavings
    Loom,
    /// The daemon carries its eBPF programs
    Embedded,
    /// cargo-deny: licences, bans, sources
    Licences,
    /// cargo-deny: known vulnerabilities
    Advisories,
}

/// Runs the checks that were asked for; fails if any failed.
pub(crate) fn run(cache: &Cache, options: &Options) -> Result<()> {
    let mut toolchain = None;
    let mut rows = Vec::new();
    for &check in Check::value_variants() {
        if !(options.only.is_empty() || options.only.contains(&check)) {
            continue;
        }
        let name = check.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        println!("\n== {name} ==");
        let begin = Instant::now();
        let outcome = perform(check, cache, &mut toolchain).unwrap_or_else(|error| {
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

fn perform(check: Check, cache: &Cache, toolchain: &mut Option<Record>) -> Result<Outcome> {
    match check {
        Check::Setup => {
            *toolchain = Some(setup::run(cache)?);
            Ok(Outcome::Checked(Tally::one(true)))
        }
        Check::Format => rust::format(),
        Check::Links => links::check(),
        Check::Lint => rust::lint(),
        Check::LintBpf => match toolchain.take().map_or_else(|| setup::run(cache), Ok) {
            Ok(toolchain) => rust::lint_bpf(&toolchain),
            Err(error) => Ok(Outcome::Skipped(format!("no eBPF toolchain: {error}"))),
        },
        Check::Tests => rust::tests(),
        Check::DocTests => rust::doc_tests(),
        Check::Docs => rust::docs(),
        Check::Loom => rust::loom(),
        Check::Embedded => embedded::check(),
        Check::Licences => licences::check(cache),
        Check::Advisories => licences::advisories(cache),
    }
}
