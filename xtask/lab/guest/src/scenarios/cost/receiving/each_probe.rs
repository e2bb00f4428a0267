//! What each probe of the default set adds to another program's completions.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use super::{Bare, bare, keep};
use crate::harness::daemon::Daemon;
use crate::harness::instructions::figure;
use crate::harness::metrics::Metrics;
use crate::harness::nic::Nic;

const CONFIG: &str = "/tmp/cost-probes.toml";
/// Runs per thousand completions below which a probe has nothing to do with completions.
const SELDOM: f64 = 1.0;
/// Programs that zcrxd runs itself, for its samples.
const OF_SAMPLES: [&str; 2] = ["snapshot_", "stack_"];

/// Measures the default set without each probe that completions cause to run.
pub(super) fn measure(nic: &Nic, transfers: usize) -> Result<()> {
    for (probe, runs) in runs(nic)?.iter().filter(|(_, runs)| **runs >= SELDOM) {
        figure(&format!("probe/{probe}/runs"), *runs)?;
        fs::write(CONFIG, format!("[probes]\nmechanism = \"fexit\"\ndisabled = [\"{probe}\"]\n"))
            .with_context(|| format!("cannot write {CONFIG}"))?;
        let mut daemon = Daemon::start(&nic.rx, &["--config", CONFIG])?;
        let observer = daemon.process().id();
        keep(&format!("probe/{probe}"), bare(nic, transfers, Some(observer))?)?;
        daemon.stop()?;
    }
    Ok(())
}

/// Runs of each attached probe's programs per thousand completions.
fn runs(nic: &Nic) -> Result<BTreeMap<String, f64>> {
    fs::write(CONFIG, "[probes]\nmechanism = \"fexit\"\nstatistics = true\n")
        .with_context(|| format!("cannot write {CONFIG}"))?;
    let daemon = Daemon::start(&nic.rx, &["--config", CONFIG])?;
    let names: Vec<String> =
        daemon.metrics()?.of("zcrxd_probe_info").map(|probe| probe.label("probe").to_owned()).collect();
    let mut receiver = Bare::start(nic)?;
    let before = daemon.metrics()?;
    let received = receiver.transfer(nic)?;
    let after = daemon.metrics()?;
    receiver.end()?;
    daemon.stop()?;
    let mut runs = BTreeMap::new();
    for (program, ran) in by_program(&after) {
        let ran = ran - by_program(&before).get(&program).copied().unwrap_or(0.0);
        // The names of a probe's programs begin with its own.
        let probe = names.iter().filter(|name| program.starts_with(*name)).max_by_key(|name| name.len());
        if let Some(probe) = probe.filter(|_| !OF_SAMPLES.iter().any(|own| program.starts_with(own))) {
            *runs.entry(probe.clone()).or_insert(0.0) += ran / received * 1000.0;
        }
    }
    Ok(runs)
}

fn by_program(metrics: &Metrics) -> BTreeMap<String, f64> {
    let samples = metrics.of("zcrxd_probe_program_runs_total");
    samples.map(|sample| (sample.label("program").to_owned(), sample.value)).collect()
}
