//! What the checks came to.

use std::fmt::{self, Display};
use std::iter::Sum;
use std::time::Duration;

/// Outcome of one check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran.
    Checked(Tally),
    /// It could not run here, and why.
    Skipped(String),
}

impl Outcome {
    /// Its share of the total: a check that was skipped counts as one test skipped.
    pub(super) fn tally(&self) -> Tally {
        match self {
            Self::Checked(tally) => *tally,
            Self::Skipped(_) => Tally { skipped: 1, ..Tally::default() },
        }
    }
}

/// Tests counted. A check that is no test runner (formatting, say) counts as one test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Ran and passed.
    pub passed: usize,
    /// Ran and failed, or could not be run for a fault of the code.
    pub failed: usize,
    /// Did not run.
    pub skipped: usize,
}

impl Tally {
    /// One test.
    pub(super) fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), skipped: 0 }
    }

    /// What a run of `cargo test`, `cargo nextest` or the lab printed, and whether it ended well.
    ///
    /// A run that fails without any failed test (it does not compile, say) counts as one failed test.
    pub(super) fn of_runner(succeeded: bool, printed: &str) -> Self {
        // nextest repeats what a failed test printed, which may look like another runner's count.
        let own = [nextest, cargo_test, plain]
            .into_iter()
            .find(|count| printed.lines().any(|line| count(line).is_some()));
        let mut tally: Self = own.map_or_else(Self::default, |count| printed.lines().filter_map(count).sum());
        if !succeeded && tally.failed == 0 {
            tally.failed = 1;
        }
        tally
    }
}

impl Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(iterator: I) -> Self {
        iterator.fold(Self::default(), |sum, tally| Self {
            passed: sum.passed + tally.passed,
            failed: sum.failed + tally.failed,
            skipped: sum.skipped + tally.skipped,
        })
    }
}

impl Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`
fn cargo_test(line: &str) -> Option<Tally> {
    let line = line.trim().strip_prefix("test result: ")?;
    Some(Tally {
        passed: before(line, " passed")?,
        failed: before(line, " failed")?,
        skipped: before(line, " ignored")?,
    })
}

/// `Summary [   0.019s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 0 skipped`
fn nextest(line: &str) -> Option<Tally> {
    let line = line.trim().strip_prefix("Summary [")?;
    let run = before(line, " tests run").or_else(|| before(line, " test run"))?;
    let passed = before(line, " passed").unwrap_or(0);
    let skipped = before(line, " skipped").unwrap_or(0);
    // Failures have several names; what ran and did not pass is one of them.
    Some(Tally { passed, failed: run.saturating_sub(passed), skipped })
}

/// `3 passed, 0 failed, 1 skipped`
fn plain(line: &str) -> Option<Tally> {
    let mut parts = line.split(", ");
    let mut part = |word: &str| parts.next()?.strip_suffix(word)?.parse().ok();
    Some(Tally { passed: part(" passed")?, failed: part(" failed")?, skipped: part(" skipped")? })
}

/// The number that stands before a word.
fn before(line: &str, word: &str) -> Option<usize> {
    let (head, _) = line.split_once(word)?;
    head.rsplit(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// One line of the table.
pub(super) struct Row {
    /// The check.
    pub name: String,
    /// Its outcome.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// The table of all checks.
pub(super) fn table(rows: &[Row]) -> String {
    let line = |Row { name, outcome, took }: &Row| {
        let result = match outcome {
            Outcome::Checked(Tally { passed: 0, failed: 1, skipped: 0 }) => "FAILED".to_owned(),
            Outcome::Checked(tally) if tally.failed > 0 => format!("FAILED ({tally})"),
            Outcome::Checked(Tally { passed: 1, skipped: 0, .. }) => "ok".to_owned(),
            Outcome::Checked(tally) => format!("ok ({tally})"),
            Outcome::Skipped(why) => format!("skipped: {why}"),
        };
        format!("{name:<12} {:>8.1}  {result}", took.as_secs_f64())
    };
    let head = format!("{:<12} {:>8}  result", "check", "seconds");
    std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_test_lines_are_summed() {
        let printed = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                       noise\n\
                       test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(Tally::of_runner(false, printed), Tally { passed: 4, failed: 2, skipped: 1 });
    }

    #[test]
    fn every_way_to_fail_under_nextest_counts() {
        let printed =
            "     Summary [   0.019s] 7 tests run: 5 passed (1 slow), 1 failed, 1 timed out, 3 skipped";
        assert_eq!(Tally::of_runner(false, printed), Tally { passed: 5, failed: 2, skipped: 3 });
        let one = "     Summary [   0.019s] 1 test run: 1 passed, 0 skipped";
        assert_eq!(Tally::of_runner(true, one), Tally { passed: 1, failed: 0, skipped: 0 });
    }

    #[test]
    fn what_a_failed_test_printed_is_not_counted_again() {
        let printed = "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 314 filtered out\n\
                       Summary [  46.135s] 315 tests run: 314 passed, 1 failed, 8 skipped";
        assert_eq!(Tally::of_runner(false, printed), Tally { passed: 314, failed: 1, skipped: 8 });
    }

    #[test]
    fn the_labs_closing_line_counts() {
        let printed = "1 of 2 passed, or so\n12 passed, 0 failed, 3 skipped\n";
        assert_eq!(Tally::of_runner(true, printed), Tally { passed: 12, failed: 0, skipped: 3 });
    }

    #[test]
    fn what_does_not_compile_is_a_failure() {
        assert_eq!(Tally::of_runner(false, "error[E0308]: mismatched types"), Tally::one(false));
    }

    #[test]
    fn a_skipped_check_is_named_with_its_reason() {
        let row = Row {
            name: "lab".into(),
            outcome: Outcome::Skipped("no QEMU".into()),
            took: Duration::from_millis(40),
        };
        assert!(table(&[row]).contains("skipped: no QEMU"));
    }
}
