//! `cargo xtask regenerate`: writes every file that is generated from tables in the sources.
//!
//! Not among them: docs/kernels.md, which `cargo xtask lab matrix` measures on every kernel.

mod proofs;
mod topics;

use std::fs;

use anyhow::{Context, Result, bail};
use xtask_tools::command::run as run_command;
use xtask_tools::progress::step;
use xtask_tools::workspace::{cargo, root};

/// Variable that makes tests of generated pages write the page instead of comparing it.
const BLESS: &str = "ZCRXD_BLESS";

/// Packages whose tests named `…_current` hold generated pages, and the target that has these tests.
const PAGES: [(&str, &str); 2] = [("zcrx-daemon", "--lib"), ("zcrx-lab-conformance", "--bins")];

/// A generated file: its path in the repository and its content.
struct Generated {
    path: String,
    text: String,
}

/// Writes all of them.
pub(crate) fn run() -> Result<()> {
    step("lists of scenario files and eBPF programs", || write(topics::files()?))?;
    step("which scenario proves what", || write(vec![proofs::file()?]))?;
    for (package, target) in PAGES {
        step(&format!("pages of {package}"), || {
            let mut command = cargo();
            command.args(["test", "--quiet", "--package", package, target, "_current"]).env(BLESS, "1");
            run_command(&mut command)
        })?;
    }
    step("rules, alerts and dashboards", zcrx_dashboards::generate)
}

/// Returns each file of the lab that is not what `run` would write. The other generated files have tests of their own.
pub(crate) fn stale() -> Result<Vec<String>> {
    let mut files = topics::files()?;
    files.push(proofs::file()?);
    files.retain(|file| fs::read_to_string(root().join(&file.path)).ok().as_ref() != Some(&file.text));
    Ok(files.into_iter().map(|file| file.path).collect())
}

fn write(files: Vec<Generated>) -> Result<()> {
    for file in files {
        let path = root().join(&file.path);
        if fs::read_to_string(&path).ok().as_ref() == Some(&file.text) {
            continue;
        }
        fs::write(&path, &file.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Returns an error for a text without a line that the generator needs.
fn split<'a>(text: &'a str, at: &str, path: &str) -> Result<(&'a str, &'a str)> {
    match text.split_once(at) {
        Some(parts) => Ok(parts),
        None => bail!("{path} has no line `{}`", at.trim_end()),
    }
}
