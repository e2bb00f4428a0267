//! Rules, dashboards and runbook; and a real scrape, held against what they are made for.

use anyhow::Result;

use super::prerequisites::Prerequisites;
use super::summary::{Outcome, Tally};
use crate::receiver::Receiver;
use xtask_tools::scrape::Scrape;
use xtask_tools::workspace::target;
use zcrx_dashboards::check::{self, Count, Promtool};
use zcrx_dashboards::series;

/// Everything that needs no daemon.
pub(super) fn documents(prerequisites: &Prerequisites) -> Outcome {
    let mut tally = tally(check::all());
    if prerequisites.has_promtool() {
        let more = self::tally(check::with_promtool(prerequisites.path()));
        tally = [tally, more].into_iter().sum();
    } else {
        println!("skipped: no promtool (Debian: apt-get install prometheus)");
        tally.skipped += check::PROMTOOL_CHECKS;
    }
    Outcome::Checked(tally)
}

/// A daemon with one queue and one with four: what they export is documented, and as much as `docs/fleet.md` says.
pub(super) fn scrape(prerequisites: &Prerequisites) -> Result<Outcome> {
    let mut scrapes = Vec::new();
    for queues in [1, 4] {
        scrapes.push((queues, Receiver::start(queues, "sink = \"verify\"\n")?.scrape()?));
    }
    let complaints = series::complaints(&scrapes)?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    let mut tally = Tally::one(complaints.is_empty());
    if let (true, Some((_, scrape))) = (prerequisites.has_promtool(), scrapes.last()) {
        tally = [tally, Tally::one(accepted(prerequisites, scrape)?)].into_iter().sum();
    } else {
        println!(
            "skipped: no promtool (Debian: apt-get install prometheus), so the form of the metrics is unchecked"
        );
        tally.skipped += 1;
    }
    Ok(Outcome::Checked(tally))
}

fn accepted(prerequisites: &Prerequisites, scrape: &Scrape) -> Result<bool> {
    let path = target()?.join("metrics.prom");
    std::fs::write(&path, &scrape.text)?;
    let complaints = Promtool::new(prerequisites.path()).metrics(&path)?;
    for complaint in &complaints {
        println!("promtool: {complaint}");
    }
    Ok(complaints.is_empty())
}

fn tally(count: Count) -> Tally {
    Tally { passed: count.passed, failed: count.failed, skipped: count.skipped }
}
