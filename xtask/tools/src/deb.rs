//! Debian packages: taken apart, or installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::command::{find, run};
use super::progress::step;

/// What the lab calls upon, each with the package that brings it.
const LAB: [(&str, &str); 6] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
    ("rpmbuild", "rpm"),
];

/// Installs what the lab calls upon and is missing, or says how to.
pub fn ensure_lab(cache: &Cache) -> Result<()> {
    let missing = LAB.iter().filter(|(program, _)| find(program).is_none());
    let packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let all = packages.join(" ");
    step(&format!("apt-get install {all}"), || install(cache, &packages))
        .with_context(|| format!("the lab needs more than is installed; by hand: sudo apt-get install {all}"))
}

/// Unpacks the members that match a pattern into a folder, without that many leading parts of their paths.
pub fn unpack(package: &Path, members: &str, strip: usize, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let archive = package.with_extension("tar");
    let file = fs::File::create(&archive).with_context(|| format!("cannot make {}", archive.display()))?;
    let status = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(file).status();
    if !status.context("cannot run dpkg-deb")?.success() {
        bail!("dpkg-deb cannot read {}", package.display());
    }
    run(Command::new("tar")
        .args(["--extract", "--no-same-owner", "--wildcards"])
        .arg(format!("--strip-components={strip}"))
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(into)
        .arg(members))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

/// Installs packages on this machine, if this user may.
pub fn install(cache: &Cache, packages: &[&str]) -> Result<()> {
    if find("apt-get").is_none() {
        bail!("apt-get is not installed");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("installing packages needs root");
    }
    let _lock = cache.lock("apt/install")?;
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.arg("-qq").env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    // Without the option, apt calls an unreachable mirror a warning.
    run(apt_get().args(["update", "-o", "APT::Update::Error-Mode=any"]))?;
    run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(packages))
}
