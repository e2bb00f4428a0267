//! `cargo xtask demo --lab`: what this machine's kernel or NIC cannot show, shown by another kernel in the lab.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use zcrx_lab_guest::protocol::Outcome;

use super::report::{count, size};
use super::scrape::Scrape;
use super::section;
use crate::lab;
use crate::tools::cache::Cache;
use crate::tools::deb::ensure_lab;

/// The one whose last scrape is shown.
const ZERO_COPY: &str = "zero-copy";

/// What is shown: how the kernel can be watched, zero copy, a starvation, a refusal.
const SCENARIOS: [&str; 4] = ["probes", ZERO_COPY, "starved-by-leak", "refused-interfaces"];

/// Runs them and tells what was seen.
pub(super) fn run(cache: &Cache) -> Result<()> {
    section("Set-up");
    ensure_lab(cache)?;
    section("On the newest kernel that can be had");
    let (report, artefacts) = lab::run_on_newest(&SCENARIOS)?;
    println!("Artefacts: {}", artefacts.display());

    let kernel = report.release.as_deref().unwrap_or("unknown");
    section(&format!("Summary: Linux {kernel}"));
    for (what, found) in &report.facts {
        println!("  {what:<32} {found}");
    }
    let mut failed = 0;
    for verdict in &report.verdicts {
        let (what, why) = match &verdict.outcome {
            Outcome::Passed => ("shown", ""),
            Outcome::Skipped(why) => ("not shown", &**why),
            Outcome::Failed(why) => {
                failed += 1;
                ("WRONG", &**why)
            }
        };
        println!("  {:<32} {what}: {why}", verdict.scenario);
    }
    let passed = |name| {
        report.verdicts.iter().any(|verdict| verdict.scenario == name && verdict.outcome == Outcome::Passed)
    };
    if passed(ZERO_COPY) {
        account(&artefacts.join(ZERO_COPY).join("metrics.prom"))?;
    }
    if failed > 0 {
        bail!("{failed} of {} were not as they should be", report.verdicts.len());
    }
    Ok(())
}

/// What zcrxd said of its queue at the end of the transfer.
fn account(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let scrape = Scrape::parse(text)?;
    for info in scrape.all("zcrx_receive_info") {
        let (interface, queue) = (info.label("interface"), info.label("queue"));
        println!(
            "  {:<32} backend {}, sink {}",
            format!("queue {interface}:{queue}"),
            info.label("backend"),
            info.label("sink")
        );
        let Ok(queue) = queue.parse() else { continue };
        let value = |name| scrape.queue(queue, name);
        let shown = |name, form: fn(u64) -> String| value(name).map_or_else(|| "unknown".to_owned(), form);
        println!(
            "  {:<32} {} verified, {} bytes wrong, {} copied",
            "data",
            shown("zcrx_receive_verified_bytes_total", size),
            shown("zcrx_receive_mismatched_bytes_total", count),
            shown("zcrx_receive_copied_bytes_total", size),
        );
        println!(
            "  {:<32} dispensed {} = returned {} + held {}",
            "buffers",
            shown("zcrx_receive_buffers_dispensed_total", count),
            shown("zcrx_receive_buffers_returned_total", count),
            shown("zcrx_receive_buffers_held", count),
        );
    }
    Ok(())
}
