//! What is written from tables is what the tables say.

use anyhow::Result;

use crate::config::Parameters;
use crate::files;
use xtask_tools::workspace::root;

pub(super) fn check() -> Result<Vec<String>> {
    let stale = files::all(&Parameters::default())?
        .into_iter()
        .filter(|(name, text)| std::fs::read_to_string(root().join(name)).ok().as_ref() != Some(text));
    Ok(stale.map(|(name, _)| format!("{name} is not what the tables say: cargo xtask regenerate")).collect())
}
