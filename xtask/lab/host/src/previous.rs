//! The Debian package that an upgrade starts from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use xtask_tools::command::{require, run};

/// Makes the package that an upgrade starts from: the same with a lower version and another default configuration.
pub(super) fn previous(deb: &Path, directory: &Path) -> Result<PathBuf> {
    let dpkg_deb = require("dpkg-deb", "dpkg")?;
    let tree = directory.join("previous");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    run(Command::new(&dpkg_deb).arg("--raw-extract").arg(deb).arg(&tree))?;
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let write = |path: &Path, text: String| {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let (control, configuration) = (tree.join("DEBIAN/control"), tree.join("etc/zcrxd/zcrxd.toml"));
    write(&control, lower_version(&read(&control)?)?)?;
    write(&configuration, read(&configuration)? + "# The default of the version before.\n")?;
    let package = directory.join("zcrxd-previous.deb");
    run(Command::new(&dpkg_deb).args(["--root-owner-group", "--build"]).arg(&tree).arg(&package))?;
    fs::remove_dir_all(&tree).with_context(|| format!("cannot remove {}", tree.display()))?;
    Ok(package)
}

/// The fields of a package with a version that dpkg sorts before its own.
fn lower_version(control: &str) -> Result<String> {
    let line =
        control.lines().find(|line| line.starts_with("Version: ")).context("a package has a version")?;
    Ok(control.replace(line, &format!("{line}~previous")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask_tools::command::output;

    #[test]
    fn package_of_the_version_before_is_upgraded_by_the_package() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("zcrxd-previous-{}", std::process::id()));
        let tree = directory.join("tree");
        for folder in ["DEBIAN", "etc/zcrxd"] {
            fs::create_dir_all(tree.join(folder))?;
        }
        let control = "Package: zcrxd\nVersion: 1.2.0\nArchitecture: all\nMaintainer: a <a@b.example>\nDescription: a test\n";
        fs::write(tree.join("DEBIAN/control"), control)?;
        fs::write(tree.join("etc/zcrxd/zcrxd.toml"), "[web]\n")?;
        let package = directory.join("zcrxd.deb");
        run(Command::new("dpkg-deb").arg("--build").arg(&tree).arg(&package))?;
        let before = previous(&package, &directory)?;
        let version = |deb: &Path| output(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Version"));
        let (old, new) = (version(&before)?, version(&package)?);
        run(Command::new("dpkg").args(["--compare-versions", old.trim(), "lt", new.trim()]))?;
        let extracted = directory.join("extracted");
        run(Command::new("dpkg-deb").arg("--extract").arg(&before).arg(&extracted))?;
        let default = fs::read_to_string(extracted.join("etc/zcrxd/zcrxd.toml"))?;
        assert!(default.starts_with("[web]\n# The default of"), "{default}");
        fs::remove_dir_all(&directory).context("cannot remove the packages")
    }
}
