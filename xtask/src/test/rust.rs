//! The checks that cargo and its companions make.

use std::process::Command;

use anyhow::Result;

use super::prerequisites::Prerequisites;
use super::summary::{Outcome, Tally};
use crate::setup::Record;
use xtask_tools::command::{find, shown};
use xtask_tools::workspace::{cargo, root};

/// rustfmt on every crate, the eBPF programs included.
pub(super) fn format() -> Result<Outcome> {
    one(cargo().args(["fmt", "--all", "--check"]))
}

/// clippy on everything that runs on the host.
pub(super) fn lint() -> Result<Outcome> {
    one(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// clippy on what runs in the kernel.
pub(super) fn lint_bpf(toolchain: &Record) -> Result<Outcome> {
    if !toolchain.toolchain.join("bin/cargo-clippy").is_file() {
        return Ok(Outcome::Skipped(format!("{} has no clippy", toolchain.rustc)));
    }
    let mut command = match find("rustup") {
        Some(rustup) => {
            let mut command = Command::new(rustup);
            command.arg("run").arg(&toolchain.toolchain).arg("cargo").current_dir(root());
            command
        }
        None => cargo(),
    };
    one(command
        .args(["clippy", "--package", "zcrx-ebpf", "--release", "--target", "bpfel-unknown-none"])
        // Apart from the host's artifacts: another compiler would throw those away.
        .args(["-Z", "build-std=core", "--target-dir", "target/bpf", "--", "-D", "warnings"])
        .env("RUSTC_BOOTSTRAP", "1"))
}

/// Seed of every random test, unless the environment names another: what one run passes, all runs pass.
const SEED: (&str, &str) = ("PROPTEST_RNG_SEED", "20261129");

/// Unit and integration tests, by nextest where it is installed.
pub(super) fn tests(prerequisites: &Prerequisites) -> Result<Outcome> {
    let mut command = cargo();
    command.envs(prerequisites.path().map(|path| ("PATH", path)));
    if std::env::var_os(SEED.0).is_none() {
        command.env(SEED.0, SEED.1);
    }
    if find("cargo-nextest").is_some() {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--status-level", "slow"]);
    } else {
        command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    }
    runner(&mut command)
}

/// Examples in the documentation of the crates that others link to; only they have any.
pub(super) fn doc_tests() -> Result<Outcome> {
    runner(cargo().args([
        "test",
        "--package",
        "zcrx-common",
        "--package",
        "zcrx-uapi",
        "--doc",
        "--no-fail-fast",
    ]))
}

/// rustdoc, with its warnings as errors.
pub(super) fn docs() -> Result<Outcome> {
    one(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn one(command: &mut Command) -> Result<Outcome> {
    let (succeeded, _) = shown(command)?;
    Ok(Outcome::Checked(Tally::one(succeeded)))
}

fn runner(command: &mut Command) -> Result<Outcome> {
    let (succeeded, printed) = shown(command)?;
    Ok(Outcome::Checked(Tally::of_runner(succeeded, &printed)))
}
