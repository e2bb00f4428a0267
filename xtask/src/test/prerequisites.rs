//! Programs that checks call upon and that may be missing.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::summary::{Outcome, Tally};
use xtask_tools::apt::{self, Apt, Network};
use xtask_tools::cache::Cache;
use xtask_tools::command::find;
use xtask_tools::deb::{ensure_lab, unpack};
use xtask_tools::progress::step;

/// What is there now.
#[derive(Debug, Default)]
pub(super) struct Prerequisites {
    /// Where promtool is, if it is not on `PATH`.
    promtool: Option<PathBuf>,
    /// What is missing.
    missing: Vec<String>,
    /// Why the lab cannot run, if it cannot.
    pub no_lab: Option<String>,
}

impl Prerequisites {
    /// Gets what is missing, as far as this user can.
    pub(super) fn get(cache: &Cache, lab: bool) -> Self {
        let mut prerequisites = Self::default();
        if find("promtool").is_none() {
            match promtool(cache) {
                Ok(folder) => prerequisites.promtool = Some(folder),
                Err(error) => prerequisites.missing.push(format!("promtool: {error:#}")),
            }
        }
        if lab && let Err(error) = ensure_lab(cache) {
            prerequisites.missing.push(format!("{error:#}"));
            prerequisites.no_lab = Some(format!("{error:#}"));
        }
        prerequisites
    }

    /// Its outcome as a check.
    pub(super) fn outcome(&self) -> Outcome {
        if self.missing.is_empty() {
            Outcome::Checked(Tally::one(true))
        } else {
            Outcome::Skipped(format!("missing: {}", self.missing.join("; ")))
        }
    }

    /// Whether there is a promtool.
    pub(super) fn has_promtool(&self) -> bool {
        self.promtool.is_some() || find("promtool").is_some()
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
