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

use self::config::Parameters;

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
        /// Address of the runbook, with a page for each alert; zcrxd serves the runbook on every host
        #[arg(long, value_name = "URL", default_value = config::RUNBOOK)]
        runbook: String,
        /// Regular expression for the names of the scrape job
        #[arg(long, value_name = "REGEX", default_value = config::JOB)]
        job: String,
        /// Label that names the cluster of a host
        #[arg(long, value_name = "LABEL", default_value = config::CLUSTER)]
        cluster: String,
        /// Sets a threshold of the alerts; repeatable
        #[arg(long, value_name = "NAME=VALUE")]
        threshold: Vec<String>,
    },
    /// List every query of every dashboard and rule as JSON lines, variables replaced
    Queries(queries::Options),
    /// Check rules, dashboards and runbook against each other and against the metrics there are
    Check,
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.command {
        Command::Generate { runbook, job, cluster, threshold } => {
            let runbook = runbook.trim_end_matches('/').to_owned();
            let site =
                Parameters { job: job.clone(), cluster: cluster.clone(), runbook, ..Parameters::default() };
            files::write(&site.with_thresholds(threshold)?)
        }
        Command::Queries(options) => queries::list(options),
        Command::Check => check::documents(),
    }
}

/// Writes rules, alerts and dashboards with the project's own address of the runbook.
pub fn generate() -> Result<()> {
    files::write(&Parameters::default())
}

/// Every query of every panel and rule, variables replaced: an object a line.
pub fn queries() -> Result<String> {
    queries::lines(&queries::Options::defaults())
}
