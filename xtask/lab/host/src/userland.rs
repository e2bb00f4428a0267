//! Other projects' programs that a guest has: a shell with its tools, ethtool and iproute2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::initramfs::Archive;
use xtask_tools::apt::{Apt, Network};
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{find, require, run};

/// What busybox stands in for.
const APPLETS: [&str; 11] = ["sh", "cat", "ls", "dmesg", "ps", "grep", "mount", "vi", "less", "top", "kill"];

/// The suite that programs for another architecture than this machine's are from.
const SUITE: &str = "trixie";

/// Packages of these programs.
const PACKAGES: [&str; 3] = ["busybox-static", "ethtool", "iproute2"];

/// Adds them: this machine's own, or those of Debian's packages.
pub(super) fn add(
    cache: &Cache,
    network: Network,
    architecture: Architecture,
    archive: &mut Archive,
) -> Result<()> {
    if architecture == Architecture::HERE {
        let busybox = find("busybox").context("busybox is not installed: apt-get install busybox-static")?;
        archive.program("/bin/busybox", &busybox)?;
        archive.program("/sbin/ethtool", &require("ethtool", "ethtool")?)?;
        archive.program("/sbin/ip", &require("ip", "iproute2")?)?;
    } else {
        let root = packages(cache, network, architecture)?;
        // In Debian these folders are links, which a package with the base system's files makes.
        for folder in ["bin", "sbin", "lib"] {
            archive.link(format!("/{folder}"), &format!("usr/{folder}"));
        }
        // Tables of the C library for other character sets.
        let tables = format!("usr/lib/{}/gconv", architecture.gnu());
        archive.tree("usr", &root.join("usr"), &["usr/share", "usr/lib/locale", &tables])?;
    }
    for applet in APPLETS {
        archive.link(format!("/bin/{applet}"), "busybox");
    }
    Ok(())
}

/// The packages and all that they depend on, unpacked into one folder.
fn packages(cache: &Cache, network: Network, architecture: Architecture) -> Result<PathBuf> {
    let key = Key::new().bytes(SUITE).bytes(architecture.debian()).bytes(PACKAGES.join(" ")).name();
    let directory = cache.build("lab/userland", &key, |directory| {
        eprintln!("lab: fetching {} for {}", PACKAGES.join(", "), architecture.debian());
        let apt = Apt::open_for(architecture, cache, &[SUITE], network)?;
        let (archives, root) = (directory.join("archives"), directory.join("root"));
        for package in PACKAGES {
            for deb in apt.download_with_dependencies(package, SUITE, &archives)? {
                run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&root))?;
            }
        }
        merge(&root)?;
        fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
    })?;
    Ok(directory.join("root"))
}

/// Copies what a package holds in a folder of the root into the folder of the same name in usr, where the guest looks.
fn merge(root: &Path) -> Result<()> {
    for folder in ["bin", "sbin", "lib"] {
        let from = root.join(folder);
        if from.is_dir() {
            let to = root.join("usr").join(folder);
            fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
            run(Command::new("cp").arg("-a").arg(from.join(".")).arg(to))?;
        }
    }
    Ok(())
}
