//! Compares zcrxd's counters with the counts of another witness.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::daemon::Daemon;
use super::foreign::Foreign;
use super::metrics::{Metrics, Sample};
use super::{STEP_LIMIT, eventually};

/// Waits until zcrxd and the truth say the same, in a moment in which the program's account stands still.
pub(crate) fn agree(
    foreign: &mut Foreign,
    daemon: &Daemon<'_>,
    rows: impl Fn(&Metrics, &Value) -> Result<Vec<(&'static str, u64, u64)>>,
) -> Result<()> {
    let mut last = Vec::new();
    let agreed = eventually("zcrxd and the truth agree", STEP_LIMIT, || {
        let before = foreign.truth()?;
        let metrics = daemon.metrics()?;
        last = rows(&metrics, &before)?;
        let after = foreign.truth()?;
        let still = ["delivered", "refill_head", "endings"].iter().all(|field| before[field] == after[field]);
        Ok((still && last.iter().all(|(_, said, true_one)| said == true_one)).then_some(()))
    });
    agreed.with_context(|| format!("what, zcrxd's word, the truth: {last:?}"))
}

/// Fails if anything about residence is attached or exported although it is not configured.
pub(crate) fn no_residence(metrics: &Metrics) -> Result<()> {
    let about_it = |sample: &&Sample| {
        sample.name.starts_with("zcrx_queue_residence_")
            || (sample.has("probe", "residence") && !sample.has("state", "not_requested"))
            || sample.label("program").starts_with("residence")
    };
    let said = metrics.samples().iter().find(about_it);
    ensure!(said.is_none(), "residence is not configured: {said:?}");
    Ok(())
}
