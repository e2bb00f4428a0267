//! The Debian package, by dpkg-deb: docs/decisions/0028 says why not by cargo-deb.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Package;
use xtask_tools::command::{output, require, run};
use xtask_tools::workspace::root;

/// Debian's name of the one architecture that the programs are built for.
const ARCHITECTURE: &str = "amd64";

/// Scripts that dpkg runs.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Makes the package from the files below `tree`.
pub(super) fn pack(dist: &Path, tree: &Path, package: &Package) -> Result<PathBuf> {
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
    write("control", &fields(package, installed_kib(tree)?)?, 0o644)?;
    write("conffiles", "/etc/zcrxd/zcrxd.toml\n", 0o644)?;
    for name in SCRIPTS {
        let path = root().join("deploy/debian").join(name);
        let script = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        write(name, &script, 0o755)?;
    }
    let deb = dist.join(format!("zcrxd_{}_{ARCHITECTURE}.deb", package.version));
    run(Command::new(require("dpkg-deb", "dpkg")?)
        .args(["--root-owner-group", "--build"])
        .arg(&staged)
        .arg(&deb))?;
    fs::remove_dir_all(&staged).with_context(|| format!("cannot remove {}", staged.display()))?;
    Ok(deb)
}

fn fields(package: &Package, kib: u64) -> Result<String> {
    let path = root().join("deploy/debian/control");
    let template = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(template
        .replace("@VERSION@", &package.version)
        .replace("@ARCHITECTURE@", ARCHITECTURE)
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
