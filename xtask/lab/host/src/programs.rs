//! The programs a guest runs, built static because a guest has no libraries of its own to rely on.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::ScenarioInfo;

use super::nics::Qemu;
use xtask_tools::architecture::Architecture;
use xtask_tools::command::output;
use xtask_tools::workspace::build_static;

/// Where the static programs lie.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Builds them.
    pub(crate) fn build(architecture: Architecture) -> Result<Self> {
        Ok(Self { directory: build_static(architecture)? })
    }

    /// Builds those for guests of another architecture than this machine's; an error says what to install.
    pub(crate) fn for_emulation(architecture: Architecture) -> Result<Self> {
        Qemu::Installed.command(architecture)?;
        Self::build(architecture)
    }

    /// The guest's init.
    pub(crate) fn guest(&self) -> PathBuf {
        self.directory.join("guest")
    }

    /// An application of zcrx that is not zcrxd.
    pub(crate) fn foreign(&self) -> PathBuf {
        self.directory.join("faulty-app")
    }

    /// The process that serves emulated NICs; runs beside QEMU, not in a guest.
    pub(crate) fn devices(&self) -> PathBuf {
        self.directory.join("devices")
    }

    /// All of them: the guest's init, the daemon, the foreign program, the one that compares queues, and the example of the crate
    /// `zcrx-receive`.
    pub(crate) fn all(&self) -> [PathBuf; 5] {
        ["guest", "zcrxd", "faulty-app", "conformance", "receive-example"]
            .map(|name| self.directory.join(name))
    }

    /// The scenarios, as the guest's program knows them: if these programs run on this machine.
    pub(crate) fn scenarios(&self) -> Result<Vec<ScenarioInfo>> {
        let list = output(Command::new(self.guest()).arg("list"))?;
        serde_json::from_str(&list).context("the guest's list of scenarios cannot be read")
    }
}
