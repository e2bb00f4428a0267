//! The kernel's own table of symbols.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result};

/// All its names, modules' among them.
#[derive(Debug)]
pub(crate) struct Symbols(BTreeSet<String>);

impl Symbols {
    /// Reads it, once: an emulated kernel takes seconds to print it.
    pub(crate) fn read() -> Result<Self> {
        let table = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
        let names = table.lines().filter_map(|line| line.split_ascii_whitespace().nth(2));
        Ok(Self(names.map(str::to_owned).collect()))
    }

    /// Whether that symbol is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Whether that symbol is there, or a variant of it that a compiler made.
    pub(crate) fn has_variant(&self, name: &str) -> bool {
        let prefix = format!("{name}.");
        self.has(name) || self.0.range(prefix.clone()..).next().is_some_and(|next| next.starts_with(&prefix))
    }
}
