//! The programs a guest runs, built static because a guest has no libraries of its own to rely on.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use zcrx_lab_guest::protocol::ScenarioInfo;

use crate::tools::command::output;
use crate::tools::workspace::{cargo, target};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where the static programs lie.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Builds them.
    pub(crate) fn build() -> Result<Self> {
        let status = cargo()
            .args(["build", "--quiet", "--release", "--target", TARGET])
            .args([
                "--package",
                "zcrx-daemon",
                "--package",
                "zcrx-lab-guest",
                "--package",
                "zcrx-lab-foreign",
                "--package",
                "zcrx-lab-contract",
            ])
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .status()
            .context("cannot run cargo")?;
        if !status.success() {
            bail!("the programs for the guest cannot be built: see cargo's messages above");
        }
        Ok(Self { directory: target()?.join(TARGET).join("release") })
    }

    /// The guest's init.
    pub(crate) fn guest(&self) -> PathBuf {
        self.directory.join("guest")
    }

    /// All of them: the guest's init, the daemon, the foreign program, and the one that compares queues.
    pub(crate) fn all(&self) -> [PathBuf; 4] {
        ["guest", "zcrxd", "foreign", "contract"].map(|name| self.directory.join(name))
    }

    /// The scenarios, as the guest's program knows them.
    pub(crate) fn scenarios(&self) -> Result<Vec<ScenarioInfo>> {
        let list = output(Command::new(self.guest()).arg("list"))?;
        serde_json::from_str(&list).context("the guest's list of scenarios cannot be read")
    }
}
