//! `cargo xtask accuracy`: how often verdicts on the queue model are right; with `--write`, the first part of docs/accuracy.md.

use anyhow::{Result, bail};
use clap::Args;
use xtask_tools::command::shown;
use xtask_tools::page::replace_part;
use xtask_tools::workspace::cargo;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Judge the model of a queue, which is what can be measured today
    #[arg(long, default_value_t = true)]
    model: bool,
    /// Random situations for each seed
    #[arg(long, default_value_t = 20_000)]
    cases: u64,
    /// Simulated healthy hours for each seed
    #[arg(long, default_value_t = 1000)]
    hours: u64,
    /// Bursty queues to which recommended sizes are applied, for each seed; ten times as many recordings are tried with other sizes
    #[arg(long, default_value_t = 100)]
    sizes: u64,
    /// Seed of the situations (may be repeated)
    #[arg(long = "seed", value_name = "SEED", default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Write the figures to docs/accuracy.md
    #[arg(long)]
    write: bool,
}

/// Runs the situations, and writes or prints the figures.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { cases, hours, sizes, seeds, .. } = options;
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "--package", "zcrx-daemon", "--features", "queue-model"]);
    command.args(["--example", "accuracy", "--"]);
    command.args([cases, hours, sizes].map(ToString::to_string));
    command.args(seeds.iter().map(ToString::to_string));
    let (succeeded, printed) = shown(&mut command)?;
    if options.write && (succeeded || printed.contains("target missed: ")) {
        // Figures, and wrong and late verdicts, each with its number. A page that misses a target says so too.
        let tables: Vec<&str> = printed
            .lines()
            .filter(|line| line.is_empty() || ["|", "#", "* "].iter().any(|begin| line.starts_with(begin)))
            .collect();
        let seeds: Vec<String> = seeds.iter().map(|seed| format!("--seed {seed}")).collect();
        let made_by = format!(
            "Made by `cargo xtask accuracy --model --cases {cases} --hours {hours} --sizes {sizes} {}`.",
            seeds.join(" ")
        );
        replace_part("docs/accuracy.md", "model", &format!("{made_by}\n\n{}", tables.join("\n").trim()))?;
    }
    if !succeeded {
        bail!("a target is missed, or the situations did not run to their end: see above");
    }
    Ok(())
}
