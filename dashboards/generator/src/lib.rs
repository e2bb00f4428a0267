//! What watches zcrxd: recording rules, alerts and dashboards.
//!
//! They are written from the tables in here, as `docs/metrics.md` is from the daemon's, and `cargo xtask test` holds the
//! one against the other. A panel, an alert, a recorded series is one small block.

pub mod check;
mod config;
mod contract;
mod dashboard;
mod files;
mod promql;
mod queries;
mod rules;
pub mod series;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What to do.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write deploy/prometheus/{alerts,recording}.yml, dashboards/*.json and the table in docs/fleet.md
    Generate {
        /// Where the runbook can be read: the address of a folder with a page for each alert
        #[arg(long, value_name = "URL", default_value = config::RUNBOOK)]
        runbook: String,
    },
    /// List every query of every dashboard and rule as JSON lines, variables replaced
    Queries(queries::Options),
    /// Check rules, dashboards and runbook against each other and against the metrics there are
    Check,
}

/// Runs the chore.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Generate { runbook } => files::write(runbook),
        Command::Queries(options) => queries::list(options),
        Command::Check => check::documents(),
    }
}

/// Writes rules, alerts and dashboards with the project's own address of the runbook.
pub fn generate() -> Result<()> {
    files::write(config::RUNBOOK)
}

/// Every query of every panel and rule, variables replaced: an object a line.
pub fn queries() -> Result<String> {
    queries::lines(&queries::Options::defaults())
}
