//! The summary of the demo, and what failed in it.

use std::fmt::{self, Display};

use anyhow::{Result, bail};

/// Collects both.
#[derive(Debug, Default)]
pub(super) struct Report {
    lines: Vec<(&'static str, String)>,
    wrong: Vec<String>,
}

impl Report {
    /// Something worth a line of the summary.
    pub(super) fn say(&mut self, about: &'static str, what: impl Into<String>) {
        self.lines.push((about, what.into()));
    }

    /// Checks a condition and records `wrong` if it does not hold.
    pub(super) fn check(&mut self, holds: bool, wrong: impl FnOnce() -> String) {
        if !holds {
            let wrong = wrong();
            println!("WRONG: {wrong}");
            self.wrong.push(wrong);
        }
    }

    /// An error if anything was wrong.
    pub(super) fn verdict(&self) -> Result<()> {
        match self.wrong.len() {
            0 => Ok(()),
            1 => bail!("one check of the demo failed"),
            many => bail!("{many} checks of the demo failed"),
        }
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Summary")?;
        for (about, what) in &self.lines {
            writeln!(formatter, "  {about:<13} {what}")?;
        }
        for wrong in &self.wrong {
            writeln!(formatter, "  {:<13} {wrong}", "WRONG")?;
        }
        if self.wrong.is_empty() {
            writeln!(
                formatter,
                "  {:<13} ok: every byte is right, every buffer returned, and the verdict names the cause that was made",
                "result"
            )?;
        }
        Ok(())
    }
}

/// A number with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Bytes, in the unit that fits.
pub(super) fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = units[0];
    for larger in &units[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == units[0] { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(size(512), "512 bytes");
        assert_eq!(size(1_572_864), "1.5 MiB");
    }

    #[test]
    fn a_report_with_anything_wrong_is_a_failure() {
        let mut report = Report::default();
        report.check(true, || "no".into());
        assert!(report.verdict().is_ok());
        report.check(false, || "a byte differs".into());
        assert!(report.verdict().is_err());
        assert!(report.to_string().contains("a byte differs"));
    }
}
