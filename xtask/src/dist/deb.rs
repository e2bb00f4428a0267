//! The Debian package, by dpkg-deb: docs/decisions/0028 says why not by cargo-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Package, documents, source_date, tree};
use xtask_tools::architecture::Architecture;
use xtask_tools::command::{find, output, require, run};
use xtask_tools::workspace::root;

/// What lintian would report, and why it is right here.
const OVERRIDES: &str = "# Names of functions stay in the program for backtraces; debugging information is stripped.\n\
    zcrxd: unstripped-binary-or-object [usr/bin/zcrxd]\n\
    # It needs no library of the distribution, on purpose.\n\
    zcrxd: statically-linked-binary [usr/bin/zcrxd]\n";

/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes the package from the files below `tree`.
pub(super) fn pack(
    dist: &Path,
    tree: &Path,
    package: &Package,
    architecture: Architecture,
) -> Result<PathBuf> {
    let staged = dist.join("deb");
    run(Command::new("cp").args(["--recursive", "--preserve=mode"]).arg(tree).arg(&staged))?;
    let control = staged.join("DEBIAN");
    fs::create_dir_all(&control).with_context(|| format!("cannot make {}", control.display()))?;
    let write = |name: &str, text: &str, mode: u32| -> Result<()> {
        let path = control.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot set the mode of {}", path.display()))
    };
    changelog(&staged, package)?;
    tree::write(&staged.join("usr/share/lintian/overrides/zcrxd"), OVERRIDES)?;
    write("control", &fields(package, architecture, installed_kib(tree)?)?, 0o644)?;
    write("md5sums", &checksums(&staged)?, 0o644)?;
    write("conffiles", "/etc/zcrxd/zcrxd.toml\n", 0o644)?;
    for name in SCRIPTS {
        let path = root().join("deploy/debian").join(name);
        let script = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        write(name, &script, 0o755)?;
    }
    let deb = dist.join(format!("zcrxd_{}_{}.deb", package.version, architecture.debian()));
    run(Command::new(require("dpkg-deb", "dpkg")?)
        .env("SOURCE_DATE_EPOCH", source_date()?)
        .args(["--root-owner-group", "--build"])
        .arg(&staged)
        .arg(&deb))?;
    fs::remove_dir_all(&staged).with_context(|| format!("cannot remove {}", staged.display()))?;
    check(&deb)?;
    Ok(deb)
}

/// The changes as dpkg reads them: one entry that leads to the changelog for people.
fn changelog(staged: &Path, package: &Package) -> Result<()> {
    let template = root().join("deploy/debian/control");
    let control =
        fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
    let maintainer = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    let maintainer = maintainer.context("deploy/debian/control names no maintainer")?;
    // The last commit's time, so that the same sources make the same package.
    let date = output(Command::new("git").args(["log", "-1", "--format=%cD"]).current_dir(root()))?;
    let text = format!(
        "zcrxd ({}) unstable; urgency=medium\n\n  * New version; CHANGELOG.md.gz lists its changes.\n\n -- {maintainer}  {}\n",
        package.version,
        date.trim()
    );
    let changelog = staged.join("usr/share/doc/zcrxd/changelog");
    tree::write(&changelog, &text)?;
    tree::compress(&[changelog])
}

/// A line for each file, as `md5sum` writes it.
fn checksums(staged: &Path) -> Result<String> {
    let files = documents::files(staged)?;
    let relative = files.iter().filter_map(|file| file.strip_prefix(staged).ok());
    // Configuration files are dpkg's own business.
    let summed = relative.filter(|path| !path.starts_with("DEBIAN") && !path.starts_with("etc"));
    output(Command::new("md5sum").args(summed).current_dir(staged))
}

/// Checks the package by Debian's policy, where its checker is installed.
fn check(deb: &Path) -> Result<()> {
    let Some(lintian) = find("lintian") else {
        println!("lintian is not installed, so the package was not checked: apt-get install lintian");
        return Ok(());
    };
    run(Command::new(lintian).args(["--allow-root", "--fail-on", "error"]).arg(deb))
        .context("lintian finds errors in the package")
}

fn fields(package: &Package, architecture: Architecture, kib: u64) -> Result<String> {
    let path = root().join("deploy/debian/control");
    let template = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(template
        .replace("@VERSION@", &package.version)
        .replace("@ARCHITECTURE@", architecture.debian())
        .replace("@SIZE@", &kib.to_string())
        .replace("@DESCRIPTION@", &package.description))
}

/// What the files take when they are installed, KiB.
fn installed_kib(tree: &Path) -> Result<u64> {
    let said =
        output(Command::new("du").args(["--summarize", "--apparent-size", "--block-size=1K"]).arg(tree))?;
    let kib = said.split_whitespace().next().and_then(|word| word.parse().ok());
    kib.context("du prints no number")
}
