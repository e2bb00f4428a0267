//! The list of modules in each folder of scenarios and in the folder of eBPF programs, so that a new one is one new file or folder.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xtask_tools::workspace::root;

use super::{Generated, split};

const SCENARIOS: &str = "xtask/lab/guest/src/scenarios";
const PROGRAMS: &str = "zcrx-ebpf/src/programs";

/// The last line that is written by hand in a folder's `mod.rs`.
const LAST_LINE: &str = "//! `cargo xtask regenerate` writes what follows.\n";

/// Returns `mod.rs` of each folder.
pub(super) fn files() -> Result<Vec<Generated>> {
    let mut files = vec![of_folder(PROGRAMS, programs)?];
    for topic in names(SCENARIOS, Path::is_dir)? {
        files.push(of_folder(&format!("{SCENARIOS}/{topic}"), scenarios)?);
    }
    Ok(files)
}

/// Returns `mod.rs` of a folder, with what `list` makes of the modules in it.
fn of_folder(folder: &str, list: fn(&[String]) -> String) -> Result<Generated> {
    let path = format!("{folder}/mod.rs");
    let current = fs::read_to_string(root().join(&path)).with_context(|| format!("cannot read {path}"))?;
    let (head, _) = split(&current, LAST_LINE, &path)?;
    let modules = names(folder, is_module)?;
    Ok(Generated { path, text: format!("{head}{LAST_LINE}{}", list(&modules)) })
}

/// Whether a path is a module of its own: a folder beside a file of its name belongs to that file.
fn is_module(path: &Path) -> bool {
    path.is_file() || path.join("mod.rs").is_file()
}

fn programs(modules: &[String]) -> String {
    let mut text = String::from("\n");
    for module in modules {
        writeln!(text, "pub(crate) mod {module};").expect("writing to a String cannot fail");
    }
    text
}

fn scenarios(modules: &[String]) -> String {
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
