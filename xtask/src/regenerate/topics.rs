//! The list of modules in each folder of scenarios, so that a new scenario is one new file or folder.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xtask_tools::workspace::root;

use super::{Generated, split};

const SCENARIOS: &str = "xtask/lab/guest/src/scenarios";

/// The last line that is written by hand in a folder's `mod.rs`.
const LAST_LINE: &str = "//! `cargo xtask regenerate` writes what follows.\n";

/// Returns `mod.rs` of each folder.
pub(super) fn files() -> Result<Vec<Generated>> {
    let mut files = Vec::new();
    for folder in names(SCENARIOS, Path::is_dir)? {
        let path = format!("{SCENARIOS}/{folder}/mod.rs");
        let current =
            fs::read_to_string(root().join(&path)).with_context(|| format!("cannot read {path}"))?;
        let (head, _) = split(&current, LAST_LINE, &path)?;
        let modules =
            names(&format!("{SCENARIOS}/{folder}"), |path| path.is_file() || path.join("mod.rs").is_file())?;
        files.push(Generated { path, text: format!("{head}{LAST_LINE}{}", list(&modules)) });
    }
    Ok(files)
}

fn list(modules: &[String]) -> String {
    let mut text = String::from("\n");
    for module in modules {
        writeln!(text, "mod {module};").expect("writing to a String cannot fail");
    }
    text += "\nuse crate::harness::scenario::Scenario;\n\n/// The scenarios of each file.\n#[rustfmt::skip]\n\
             pub(super) const FILES: &[&[Scenario]] = &[\n";
    for module in modules {
        writeln!(text, "    {module}::SCENARIOS,").expect("writing to a String cannot fail");
    }
    text += "];\n";
    text
}

/// Returns the names in a folder, without their extension and without `mod`, sorted.
fn names(folder: &str, wanted: fn(&Path) -> bool) -> Result<Vec<String>> {
    let entries = fs::read_dir(root().join(folder)).with_context(|| format!("cannot read {folder}"))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot read {folder}"))?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if wanted(&path) && name != "mod" {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
