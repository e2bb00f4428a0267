//! The figures that a change must not raise.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Figures;

/// By how much a gated figure may exceed the recorded one. Boots differ by 0.5 %.
const TOLERANCE: f64 = 0.03;

/// Figures that are shown and not gated: the allocator and the binary's layout decide them, not the code's work.
const UNGATED: [&str; 2] = ["resident-bytes", "scrape-bytes"];

fn is_gated(name: &str) -> bool {
    !UNGATED.iter().any(|ungated| name.ends_with(ungated))
}

/// The recorded figures.
pub(super) fn read(path: &Path) -> Result<Figures> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}: `cargo xtask bench` writes it", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))
}

/// The file of recorded figures.
pub(super) fn render(figures: &Figures) -> String {
    let mut text =
        "# Written by `cargo xtask bench`: figures that `cargo xtask bench --check` lets grow by 3 % at most.\n".to_owned();
    for (name, value) in figures.iter().filter(|(name, _)| is_gated(name)) {
        writeln!(text, "{name:?} = {value:?}").expect("a string takes what is written to it");
    }
    text
}

/// Prints each gated figure beside the recorded one; fails if one has grown, or is recorded and was not measured.
pub(super) fn hold(recorded: &Figures, measured: &Figures) -> Result<()> {
    let mut grown = Vec::new();
    for (name, was) in recorded {
        let Some(is) = measured.get(name) else {
            grown.push(format!("{name} was not measured"));
            continue;
        };
        let change = (is / was - 1.0) * 100.0;
        println!("{name:<48} {was:>14.1} -> {is:>14.1} ({change:+.1} %)");
        if *is > was * (1.0 + TOLERANCE) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(value: f64) -> Figures {
        Figures::from([("receive/bare/1/receiver".to_owned(), value)])
    }

    #[test]
    fn growth_within_the_tolerance_passes_and_beyond_it_fails() {
        assert!(hold(&figures(100.0), &figures(102.9)).is_ok());
        assert!(hold(&figures(100.0), &figures(50.0)).is_ok());
        let error = hold(&figures(100.0), &figures(103.1)).expect_err("3.1 % is more than 3 %").to_string();
        assert!(error.contains("receive/bare/1/receiver grew from 100.0 to 103.1"), "{error}");
    }

    #[test]
    fn unmeasured_figure_fails() {
        assert!(hold(&figures(100.0), &Figures::new()).is_err());
    }

    #[test]
    fn written_gates_are_read_back_without_what_is_not_gated() {
        let mut all = figures(1196.4);
        all.insert("queues/0/resident-bytes".to_owned(), 1.0);
        assert_eq!(toml::from_str::<Figures>(&render(&all)).expect("it is TOML"), figures(1196.4));
    }
}
