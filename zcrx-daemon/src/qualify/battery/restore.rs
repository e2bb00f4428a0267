//! The way back.

use std::thread;
use std::time::Instant;

use super::{Battery, POLL, RELEASE_LIMIT};
use crate::check::Verdict;
use crate::net::{self, Netlink, Outcome};
use crate::qualify::report::QualifyReport;
use crate::qualify::settings::differences;

impl Battery<'_> {
    /// Restores the interface and compares its settings with those at the beginning.
    pub(super) fn restore(&self, report: &mut QualifyReport) {
        let end = Instant::now() + RELEASE_LIMIT;
        let failure = loop {
            let failure = match net::put_back(Some(&self.target.interface), None) {
                Ok(done) => done.into_iter().find_map(|done| match done.outcome {
                    Outcome::Restored(restored) => restored.failed.first().map(ToString::to_string),
                    Outcome::Rebooted | Outcome::Gone => None,
                }),
                Err(error) => Some(error.to_string()),
            };
            // The kernel releases a queue a little after its ring is closed.
            if failure.is_none() || Instant::now() >= end {
                break failure;
            }
            thread::sleep(POLL);
        };
        if let Some(failure) = failure {
            let remedy = format!("; `zcrxd nic restore {}` tries again", self.target.interface);
            report.add("restore", Verdict::Fail, failure + &remedy);
            return;
        }
        let left = match net::interface(&mut Netlink::new(), &self.target.interface) {
            Ok(after) => differences(&self.before, &after).unwrap_or_else(|error| vec![error.to_string()]),
            Err(error) => vec![error.to_string()],
        };
        if left.is_empty() {
            report.add("restore", Verdict::Pass, "every setting is as it was");
        } else {
            report.add("restore", Verdict::Fail, format!("left changed: {}", left.join("; ")));
        }
    }
}
