//! The recorded figures, and the comparison of new ones with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::Figures;

/// By how much a gated figure may exceed the recorded one. Boots differ by 0.6 % in zcrxd's receive loop, by 3 % in the bare loop (406
/// to 419 instructions), and by 2.5 % in what a daemon with 16 queues does in 100 seconds.
fn tolerance(name: &str) -> f64 {
    if name.starts_with("queues/") || name.starts_with("receive/bare/") { 0.05 } else { 0.03 }
}

/// Figures that are shown and not gated: the allocator and the number of metrics decide memory and length; the whole machine has the
/// sender in it, and differs by 2 % between boots.
const UNGATED: [&str; 3] = ["resident-bytes", "scrape-bytes", "machine"];

/// What was measured last.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Release of the kernel of the last table measured.
    pub(super) release: String,
    /// All figures.
    pub(super) figures: Figures,
    /// Those of the probes on kernels that were asked for by name, by series. They are shown beside the others, and not gated.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) elsewhere: BTreeMap<String, Elsewhere>,
}

/// What was measured on another kernel than the newest.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Elsewhere {
    /// Its release.
    pub(super) release: String,
    /// The figures.
    pub(super) figures: Figures,
}

impl Record {
    /// Reads the record.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read {}: `cargo xtask bench` writes it", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))
    }

    /// Writes the record.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).context("figures cannot be written as TOML")?;
        let text = format!(
            "# Written by `cargo xtask bench`. Instructions, or bytes where the name ends so.\n{text}"
        );
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes the figures of a table.
    pub(super) fn update(&mut self, release: String, figures: Figures) {
        self.release = release;
        self.figures.extend(figures);
    }

    /// Prints each gated figure beside the recorded one; fails if one has grown. Another kernel costs something else: its figures are
    /// not compared.
    pub(super) fn compare(&self, release: &str, measured: &Figures) -> Result<()> {
        if self.release != release {
            println!(
                "not compared: the figures are recorded on Linux {}, and this is {release}: `cargo xtask bench`",
                self.release
            );
            return Ok(());
        }
        let mut grown = Vec::new();
        let gated = |name: &str| !UNGATED.iter().any(|ungated| name.ends_with(ungated));
        for (name, is) in measured.iter().filter(|(name, _)| gated(name)) {
            let was = self
                .figures
                .get(name)
                .with_context(|| format!("{name} is not recorded: `cargo xtask bench`"))?;
            let change = (is / was - 1.0) * 100.0;
            println!("{name:<48} {was:>14.1} -> {is:>14.1} ({change:+.1} %)");
            if *is > was * (1.0 + tolerance(name)) {
                grown.push(format!("{name} grew from {was:.1} to {is:.1} ({change:+.1} %)"));
            }
        }
        if grown.is_empty() {
            return Ok(());
        }
        bail!(
            "{}; make it cheaper, or run `cargo xtask bench` and say in the commit why it must cost more",
            grown.join("; ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = "7.3.4";
    const NAME: &str = "receive/discard/1/receiver";

    fn record(value: f64) -> Record {
        Record { release: RELEASE.to_owned(), figures: figures(value), elsewhere: BTreeMap::new() }
    }

    fn figures(value: f64) -> Figures {
        Figures::from([(NAME.to_owned(), value), ("queues/0/resident-bytes".to_owned(), value * value)])
    }

    #[test]
    fn growth_beyond_the_tolerance_fails() {
        assert!(record(100.0).compare(RELEASE, &figures(102.9)).is_ok());
        assert!(record(100.0).compare(RELEASE, &figures(50.0)).is_ok());
        let error =
            record(100.0).compare(RELEASE, &figures(103.1)).expect_err("3.1 % is more than 3 %").to_string();
        assert!(error.contains("receive/discard/1/receiver grew from 100.0 to 103.1"), "{error}");
        assert!(!error.contains("resident"), "{error}");
    }

    #[test]
    fn figures_of_another_kernel_are_not_compared() {
        assert!(record(100.0).compare("7.4.1", &figures(200.0)).is_ok());
    }

    #[test]
    fn unrecorded_figure_fails() {
        assert!(Record::default().compare("", &figures(1.0)).is_err());
    }

    #[test]
    fn tables_that_are_not_measured_again_stay() {
        let mut known = record(100.0);
        known.update("7.4.1".to_owned(), Figures::from([("probes/none/receiver".to_owned(), 7.0)]));
        assert_eq!((known.figures[NAME], known.figures.len()), (100.0, 3));
    }

    #[test]
    fn written_record_is_read_back() {
        let text = toml::to_string(&record(1196.4)).expect("figures are TOML");
        assert_eq!(toml::from_str::<Record>(&text).expect("TOML is read back"), record(1196.4));
        let mut two = record(1196.4);
        let other = Elsewhere { release: "7.3.4-arm64".to_owned(), figures: figures(2.0) };
        two.elsewhere.insert("7.3-arm64".to_owned(), other);
        let text = toml::to_string(&two).expect("figures are TOML");
        assert_eq!(toml::from_str::<Record>(&text).expect("TOML is read back"), two);
    }
}
