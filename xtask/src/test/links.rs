//! The documents point at files and headings that exist.

use anyhow::{Context, Result};

use super::summary::{Outcome, Tally};
use crate::markdown::{broken, links};
use xtask_tools::command::output;
use xtask_tools::workspace::root;

/// Checks every link of every Markdown file that git knows, except those to the web.
pub(super) fn check() -> Result<Outcome> {
    let root = root();
    let files = output(std::process::Command::new("git").args(["ls-files", "*.md"]).current_dir(&root))?;
    let (mut all, mut wrong) = (0, 0);
    for file in files.lines().map(|name| root.join(name)) {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for (line, target) in links(&text) {
            all += 1;
            if let Some(why) = broken(&file, &text, target) {
                wrong += 1;
                println!("{}:{line}: {why}", file.display());
            }
        }
    }
    println!("{all} links to files and headings, {wrong} broken");
    Ok(Outcome::Checked(Tally::one(wrong == 0)))
}
