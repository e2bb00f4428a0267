//! What a scenario measured of the kernel, for the table of kernels.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::Message;

fn path() -> PathBuf {
    super::work().join("facts")
}

/// Keeps one fact.
pub(crate) fn add(name: &str, value: &str) -> Result<()> {
    let fact = Message::Fact { name: name.to_owned(), value: value.to_owned() };
    let line = serde_json::to_string(&fact).context("cannot write a fact")?;
    let mut file = File::options().append(true).create(true).open(path()).context("cannot open the facts")?;
    writeln!(file, "{line}").context("cannot keep a fact")
}

/// Facts of the scenario that has just ended.
pub(crate) fn take() -> Result<Vec<Message>> {
    let lines = fs::read_to_string(path()).unwrap_or_default();
    lines.lines().map(|line| serde_json::from_str(line).context("a fact cannot be read")).collect()
}
