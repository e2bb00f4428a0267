//! `cargo xtask dist`: what is given to others. One tree of files as they are installed, and packages made from it.

mod deb;
mod documents;
mod manual;
mod rpm;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use crate::setup;
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::Cache;
use xtask_tools::command::output;
use xtask_tools::progress::step;
use xtask_tools::workspace::{build_static_in, cargo, root, target};

/// What was made.
#[derive(Debug)]
pub(crate) struct Made {
    /// The files as they are installed, below this folder: what the container file takes.
    pub tree: PathBuf,
    /// The Debian package.
    pub deb: PathBuf,
    /// The RPM; `None` where it cannot be made.
    pub rpm: Option<PathBuf>,
}

/// What cargo knows of the package.
#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    description: String,
}

/// What to build.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Build for these machines: amd64 or arm64; this machine's own kind if none is named
    #[arg(long, default_value = Architecture::HERE.debian())]
    architecture: Architecture,
    /// Build everything a second time, from nothing, and compare every byte
    #[arg(long)]
    twice: bool,
}

/// Builds everything and says where it lies.
pub(crate) fn run(cache: &Cache, options: &Options) -> Result<()> {
    let made = make(cache, options.architecture)?;
    if options.twice {
        let again = target()?.join("again");
        if again.exists() {
            fs::remove_dir_all(&again).with_context(|| format!("cannot remove {}", again.display()))?;
        }
        compare(&made, &make_in(cache, options.architecture, &again)?)?;
    }
    println!("files:  {}\nDebian: {}", made.tree.display(), made.deb.display());
    match &made.rpm {
        Some(rpm) => println!("RPM:    {}", rpm.display()),
        None => println!("RPM:    not made, since rpmbuild is not installed: apt-get install rpm"),
    }
    Ok(())
}

/// Builds everything into `target/dist`, for other machines than this one into a folder named after them beside it.
pub(crate) fn make(cache: &Cache, architecture: Architecture) -> Result<Made> {
    make_in(cache, architecture, &target()?)
}

/// [`make`] with another folder for what is built.
fn make_in(cache: &Cache, architecture: Architecture, build: &Path) -> Result<Made> {
    // A package without probes would be half of zcrxd: no fallback here.
    setup::run(cache).context("packages carry the eBPF programs")?;
    let package = package()?;
    let program = step("building zcrxd", || build_static_in(build, architecture))?.join("zcrxd");
    let (runs_here, dist) = if architecture == Architecture::HERE {
        (program.clone(), build.join("dist"))
    } else {
        // The manual pages are what the program itself says, so one that runs here is needed too.
        let here = step("building zcrxd for this machine, to write its pages", || {
            build_static_in(build, Architecture::HERE)
        })?;
        (here.join("zcrxd"), build.join(format!("dist-{}", architecture.debian())))
    };
    if dist.exists() {
        fs::remove_dir_all(&dist).with_context(|| format!("cannot remove {}", dist.display()))?;
    }
    let pages = dist.join("pages");
    output(Command::new(runs_here).arg("pages").arg(&pages))?;
    let tree = dist.join("root");
    tree::lay_out(&tree, &program, &pages, &package, architecture)?;
    let deb = deb::pack(&dist, &tree, &package, architecture)?;
    let rpm = rpm::pack(&dist, &tree, &package, architecture)?;
    Ok(Made { tree, deb, rpm })
}

/// Compares what two builds made, byte by byte.
fn compare(one: &Made, other: &Made) -> Result<()> {
    let program = |made: &Made| made.tree.join("usr/bin/zcrxd");
    let mut pairs = vec![(program(one), program(other)), (one.deb.clone(), other.deb.clone())];
    pairs.extend(one.rpm.clone().zip(other.rpm.clone()));
    let mut differing = Vec::new();
    for (one, other) in &pairs {
        let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        let is_same = read(one)? == read(other)?;
        println!("{}: {}", one.display(), if is_same { "the same bytes twice" } else { "two builds differ" });
        if !is_same {
            differing.push(one.display().to_string());
        }
    }
    ensure!(differing.is_empty(), "two builds of the same sources differ: {}", differing.join(", "));
    Ok(())
}

/// Seconds since 1970 of the last commit: the time of everything in the packages, so that the same sources make the same bytes.
fn source_date() -> Result<String> {
    let date = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))?;
    Ok(date.trim().to_owned())
}

fn package() -> Result<Package> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo metadata is not as expected")?;
    let daemon = metadata.packages.into_iter().find(|package| package.name == "zcrx-daemon");
    daemon.context("the workspace has no zcrx-daemon")
}
