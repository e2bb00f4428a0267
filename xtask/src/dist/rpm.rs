//! The RPM, by rpmbuild, of the same files as the Debian package.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Package, source_date};
use xtask_tools::architecture::Architecture;
use xtask_tools::command::{find, output};
use xtask_tools::workspace::root;

/// Where a file lies in this package, if not where it lies in the tree.
const MOVED: (&str, &str) = ("/usr/share/zsh/vendor-completions/", "/usr/share/zsh/site-functions/");

/// The same files make the same package, whenever and wherever it is made.
const DATED: [&str; 3] =
    ["use_source_date_epoch_as_buildtime 1", "clamp_mtime_to_source_date_epoch 1", "_buildhost zcrxd"];

/// Makes the package from the files below `tree`, and sees that it has all of them; `None` without rpmbuild.
pub(super) fn pack(
    dist: &Path,
    tree: &Path,
    package: &Package,
    architecture: Architecture,
) -> Result<Option<PathBuf>> {
    let Some(rpmbuild) = find("rpmbuild") else { return Ok(None) };
    let template = root().join("deploy/rpm/zcrxd.spec");
    let template =
        fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    let path = tree.to_str().context("a path that is no text")?;
    let filled = template
        .replace("@VERSION@", &package.version)
        .replace("@DESCRIPTION@", &package.description)
        .replace("@TREE@", path);
    let staged = dist.join("rpm");
    fs::create_dir_all(&staged).with_context(|| format!("cannot make {}", staged.display()))?;
    let spec = staged.join("zcrxd.spec");
    fs::write(&spec, filled).with_context(|| format!("cannot write {}", spec.display()))?;
    output(
        Command::new(rpmbuild)
            .args(["-bb", "--quiet", "--target", architecture.machine(), "--define"])
            .arg(format!("_topdir {}", staged.display()))
            .args(DATED.iter().flat_map(|define| ["--define", *define]))
            .env("SOURCE_DATE_EPOCH", source_date()?)
            .args(["--define", "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"])
            .arg(&spec),
    )?;
    let name = format!("zcrxd-{}-1.{}.rpm", package.version, architecture.machine());
    let rpm = dist.join(&name);
    fs::rename(staged.join("RPMS").join(&name), &rpm).with_context(|| format!("rpmbuild made no {name}"))?;
    fs::remove_dir_all(&staged).with_context(|| format!("cannot remove {}", staged.display()))?;
    complete(&rpm, tree)?;
    Ok(Some(rpm))
}

/// Every file of the tree is in the package, and no other.
fn complete(rpm: &Path, tree: &Path) -> Result<()> {
    let listed = output(
        Command::new("rpm")
            .args(["--query", "--package", "--queryformat", "[%{FILEMODES:perms} %{FILENAMES}\n]"])
            .arg(rpm),
    )?;
    let packed: BTreeSet<String> = listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(mode, _)| !mode.starts_with('d'))
        .map(|(_, name)| name.to_owned())
        .collect();
    let found = output(Command::new("find").arg(tree).args(["-type", "f", "-printf", "/%P\n"]))?;
    let files: BTreeSet<String> = found.lines().map(|name| name.replace(MOVED.0, MOVED.1)).collect();
    let missing: Vec<_> = files.symmetric_difference(&packed).map(String::as_str).collect();
    ensure!(missing.is_empty(), "the RPM and the files that it is of differ in {}", missing.join(", "));
    Ok(())
}
