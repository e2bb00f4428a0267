//! The report of a battery, as plain data and as text.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::check::Verdict;

/// Result of one test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Name of the test: stable between releases.
    pub name: String,
    /// The verdict.
    pub verdict: Verdict,
    /// What the driver did, with figures.
    pub found: String,
}

/// A counter that changed during the starvation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedCounter {
    /// Its name: `qstats NAME` for the queue's statistics, else as `ethtool -S` shows it.
    pub name: String,
    /// By how much it rose; negative if it began again at zero.
    pub change: i64,
}

/// How a queue receives again after a starvation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// By itself, this many milliseconds after the first buffer was returned.
    ByItself {
        /// Milliseconds.
        after_ms: u64,
    },
    /// Only after the queue was registered again, although every buffer had been returned.
    ByRegistration,
    /// Not even then.
    Never,
}

/// What a driver did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QualifyReport {
    /// Version of zcrxd.
    pub version: String,
    /// Kernel release, if the kernel says.
    pub kernel: Option<String>,
    /// Interface.
    pub interface: String,
    /// Queue.
    pub queue: u32,
    /// Driver, if the kernel says.
    pub driver: Option<String>,
    /// The tests, in the order of their run.
    pub tests: Vec<TestResult>,
    /// How the queue restarts; `None` if it was not starved.
    pub restart: Option<Restart>,
    /// Counters that changed while the queue starved.
    pub moved_counters: Vec<MovedCounter>,
    /// Whether a signal ended the battery early.
    pub interrupted: bool,
}

impl QualifyReport {
    /// Adds a result.
    pub(super) fn add(&mut self, name: &str, verdict: Verdict, found: impl Into<String>) {
        self.tests.push(TestResult { name: name.to_owned(), verdict, found: found.into() });
    }

    /// Whether a test failed, or the battery did not reach its end.
    pub fn has_failed(&self) -> bool {
        self.interrupted || self.tests.iter().any(|test| test.verdict == Verdict::Fail)
    }

    /// Formats the report for people.
    pub fn text(&self) -> String {
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        let driver = self.driver.as_deref().unwrap_or("unknown");
        let mut text = format!(
            "zcrxd {} on Linux {kernel}: driver {driver}, queue {}:{}\n\n",
            self.version, self.interface, self.queue
        );
        let width = self.tests.iter().map(|test| test.name.len()).max().unwrap_or(0);
        for TestResult { name, verdict, found } in &self.tests {
            // Writing to a String cannot fail.
            writeln!(text, "  {}  {name:width$}  {found}", verdict.word()).ok();
        }
        if !self.moved_counters.is_empty() {
            text.push_str("\nCounters that changed while the queue starved:\n");
            for MovedCounter { name, change } in &self.moved_counters {
                writeln!(text, "  {change:+}  {name}").ok();
            }
        }
        if self.interrupted {
            text.push_str("\nInterrupted: the tests that are missing did not run.\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> QualifyReport {
        QualifyReport {
            version: "1.2.3".to_owned(),
            kernel: Some("7.3.4".to_owned()),
            interface: "eth0".to_owned(),
            queue: 3,
            driver: Some("gve".to_owned()),
            tests: Vec::new(),
            restart: Some(Restart::ByItself { after_ms: 20 }),
            moved_counters: vec![MovedCounter { name: "rx_drops".to_owned(), change: 44 }],
            interrupted: false,
        }
    }

    #[test]
    fn text_has_tests_in_columns_and_counters() {
        let mut report = report();
        report.add("prepare", Verdict::Pass, "3 changes");
        report.add("zero_copy", Verdict::Fail, "12 bytes copied");
        assert_eq!(
            report.text(),
            "zcrxd 1.2.3 on Linux 7.3.4: driver gve, queue eth0:3\n\
             \n\
             \x20 pass  prepare    3 changes\n\
             \x20 fail  zero_copy  12 bytes copied\n\
             \n\
             Counters that changed while the queue starved:\n\
             \x20 +44  rx_drops\n"
        );
    }

    #[test]
    fn failed_test_or_interruption_fails_the_report() {
        let mut report = report();
        report.add("prepare", Verdict::Warn, "");
        assert!(!report.has_failed());
        report.interrupted = true;
        assert!(report.has_failed());
    }
}
