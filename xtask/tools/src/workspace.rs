//! This workspace, and cargo working on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::architecture::Architecture;
use super::command::output;

/// The folder of the workspace.
pub fn root() -> PathBuf {
    // Cargo names the started package's folder at run time; without cargo, the folder at compile time is used.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = PathBuf::from(package);
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").exists());
    root.map_or_else(|| ".".into(), PathBuf::from)
}

/// The cargo that runs this command, on this workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // `cargo xtask` says which package it runs. To build scripts that look at these it would be another build than the same
    // command's without `cargo xtask`, and half the dependencies would be built again and again.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.to_string_lossy().starts_with(of)) {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub fn target() -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata is not as expected")?;
    Ok(metadata.target_directory)
}

/// All packages whose programs run elsewhere. They are built together even where one is wanted: another set of packages
/// is another set of features, and so another build of everything.
const ELSEWHERE: [&str; 5] =
    ["zcrx-daemon", "zcrx-lab-guest", "zcrx-lab-faulty-app", "zcrx-lab-conformance", "zcrx-lab-devices"];

/// Builds the programs that run elsewhere without any library to rely on, and returns their folder.
pub fn build_static(architecture: Architecture) -> Result<PathBuf> {
    build_static_in(&target()?, architecture)
}

/// [`build_static`] with another folder for what cargo builds.
pub fn build_static_in(target: &Path, architecture: Architecture) -> Result<PathBuf> {
    let mut command = cargo();
    command.env("CARGO_TARGET_DIR", target);
    // Named even where it is this machine's, so that cargo does not build its own helpers static too.
    command.args(["build", "--quiet", "--release", "--target", architecture.rust()]);
    architecture.prepare(&mut command)?;
    command.args(ELSEWHERE.iter().flat_map(|package| ["--package", *package]));
    let status = command.env("RUSTFLAGS", "-C target-feature=+crt-static").status();
    if !status.context("cannot run cargo")?.success() {
        bail!("{} cannot be built: see cargo's messages above", ELSEWHERE.join(", "));
    }
    Ok(target.join(architecture.rust()).join("release"))
}
