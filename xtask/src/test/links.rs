//! The documents point at files that exist.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::summary::{Outcome, Tally};
use xtask_tools::command::output;
use xtask_tools::workspace::root;

/// Checks every relative link of every Markdown file that git knows.
pub(super) fn check() -> Result<Outcome> {
    let root = root();
    let files = output(std::process::Command::new("git").args(["ls-files", "*.md"]).current_dir(&root))?;
    let mut links = 0;
    let mut broken = 0;
    for file in files.lines().map(|name| root.join(name)) {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for (line, target) in relative_links(&text) {
            links += 1;
            if !resolve(&file, target).exists() {
                broken += 1;
                println!("{}:{line}: no such file: {target}", file.display());
            }
        }
    }
    println!("{links} relative links, {broken} broken");
    Ok(Outcome::Checked(Tally::one(broken == 0)))
}

fn resolve(file: &Path, target: &str) -> PathBuf {
    file.parent().map_or_else(PathBuf::new, |folder| folder.join(target))
}

/// The targets of `[text](target)` that are files of this repository, with their lines (from 1), anchors left out.
fn relative_links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !elsewhere {
                links.push((index + 1, target));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_repository_are_looked_for() {
        let text = "[a](docs/a.md) and [b](../b.md#part)\n[c](https://example.org/c) [d](#here)\n```\n[e](e.md)\n```\n";
        assert_eq!(relative_links(text), [(1, "docs/a.md"), (1, "../b.md")]);
    }
}
