//! What came of many scenarios, counted.

use zcrx_lab_guest::protocol::Outcome;

use super::session::Report;

/// How many went how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Of all these, scenarios that took a second attempt through no fault of theirs.
    pub repeated: usize,
}

impl Tally {
    pub(crate) fn add(&mut self, report: &Report) {
        self.repeated += report.repeated.len();
        for verdict in &report.verdicts {
            match verdict.outcome {
                Outcome::Passed => self.passed += 1,
                Outcome::Failed(_) => self.failed += 1,
                Outcome::Skipped(_) => self.skipped += 1,
            }
        }
    }
}
