//! Programs that checks call upon and that may be missing.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::summary::{Outcome, Tally};
use crate::tools::apt::{self, Apt, Network};
use crate::tools::cache::Cache;
use crate::tools::command::find;
use crate::tools::deb::{install, unpack};
use crate::tools::progress::step;

/// What the lab calls upon, each with the package that brings it.
const LAB: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("mmdebstrap", "mmdebstrap"),
];

/// What is there now.
#[derive(Debug, Default)]
pub(super) struct Outfit {
    /// Where promtool is, if it is not on `PATH`.
    promtool: Option<PathBuf>,
    /// What could not be had.
    missing: Vec<String>,
    /// Whether what the lab needs is among that.
    pub no_lab: Option<String>,
}

impl Outfit {
    /// Gets what is missing, as far as this user can.
    pub(super) fn get(cache: &Cache, lab: bool) -> Self {
        let mut outfit = Self::default();
        if find("promtool").is_none() {
            match promtool(cache) {
                Ok(folder) => outfit.promtool = Some(folder),
                Err(error) => outfit.missing.push(format!("promtool: {error:#}")),
            }
        }
        let packages: Vec<_> =
            LAB.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
        if lab && !packages.is_empty() {
            let all = packages.join(" ");
            if let Err(error) = step(&format!("apt-get install {all}"), || install(cache, &packages)) {
                let what = format!("the lab: {error:#}; by hand: sudo apt-get install {all}");
                outfit.missing.push(what.clone());
                outfit.no_lab = Some(what);
            }
        }
        outfit
    }

    /// What became of it, as a check.
    pub(super) fn outcome(&self) -> Outcome {
        if self.missing.is_empty() {
            Outcome::Checked(Tally::one(true))
        } else {
            Outcome::Skipped(format!("not to be had: {}", self.missing.join("; ")))
        }
    }

    /// `PATH` with what was fetched, if anything was.
    pub(super) fn path(&self) -> Option<OsString> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.promtool.iter().cloned().chain(std::env::split_paths(&path));
        std::env::join_paths(folders).ok()
    }
}

/// Takes promtool out of the Prometheus package: installing that would start a server.
fn promtool(cache: &Cache) -> Result<PathBuf> {
    let codename = apt::codename()?;
    let folder = cache.build("promtool", &codename, |folder| {
        step("fetching promtool", || {
            let apt = Apt::open(cache, &[&codename], Network::Online)?;
            let found =
                ["promtool", "prometheus"].iter().find_map(|name| apt.madison(name).ok()?.into_iter().next());
            let found = found.with_context(|| format!("{codename} has no package with promtool"))?;
            let package = apt.download(&found.package, &found.version, folder)?;
            unpack(&package, "./usr/bin/promtool", 3, folder)?;
            fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))
        })
    })?;
    Ok(folder)
}
