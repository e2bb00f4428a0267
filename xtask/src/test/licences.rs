//! cargo-deny: what the project depends on is free enough, known, and not broken.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::summary::{Outcome, Tally};
use xtask_tools::cache::Cache;
use xtask_tools::command::{find, run, shown};
use xtask_tools::progress::step;
use xtask_tools::workspace::root;

/// The version that is built where none is installed.
const VERSION: &str = "0.20.2";

/// Licences, bans and sources: `deny.toml` says which.
pub(super) fn check(cache: &Cache) -> Result<Outcome> {
    let (succeeded, _) = shown(
        deny(cache)?
            .args(["--log-level", "error", "check", "--hide-inclusion-graph", "--audit-compatible-output"])
            .args(["licenses", "bans", "sources"]),
    )?;
    Ok(Outcome::Checked(Tally::one(succeeded)))
}

/// Known vulnerabilities, where their list can be fetched.
pub(super) fn advisories(cache: &Cache) -> Result<Outcome> {
    let (succeeded, printed) = shown(deny(cache)?.args(["check", "advisories"]))?;
    if !succeeded && printed.contains("failed to fetch advisory database") {
        return Ok(Outcome::Skipped("the list of advisories cannot be fetched".to_owned()));
    }
    Ok(Outcome::Checked(Tally::one(succeeded)))
}

fn deny(cache: &Cache) -> Result<Command> {
    let program = match find("cargo-deny") {
        Some(path) => path,
        None => build(cache)?.join("bin/cargo-deny"),
    };
    let mut command = Command::new(program);
    command.current_dir(root());
    Ok(command)
}

fn build(cache: &Cache) -> Result<PathBuf> {
    let target = cache.directory("cargo-deny/build")?;
    let built = cache.build("cargo-deny", VERSION, |root| {
        step(&format!("building cargo-deny {VERSION} (about a minute)"), || {
            run(Command::new("cargo")
                .args(["install", "--quiet", "cargo-deny", "--version", VERSION, "--locked"])
                .args(["--no-default-features", "--root"])
                .arg(root)
                .env("CARGO_TARGET_DIR", &target)
                // It runs for a second: what counts is how soon it is built.
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"))
            .context("cannot build cargo-deny; by hand: cargo install cargo-deny --locked")
        })
    })?;
    std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    Ok(built)
}
