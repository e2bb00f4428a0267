//! What the set-up found or made, for the daemon's build script and for the next run.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

const FILE: &str = "toolchain.toml";

/// The eBPF toolchain of this machine: `ebpf/toolchain.toml` in the cache.
#[derive(Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The compiler's sysroot. `rustup run` takes it like a toolchain's name, so nothing needs to be linked.
    pub toolchain: PathBuf,
    /// The folder that holds bpf-linker, to be put on `PATH`.
    pub bin: PathBuf,
    /// The compiler's version as `rustc -V` says it.
    pub rustc: String,
    /// The linker's version.
    pub bpf_linker: String,
}

impl Record {
    /// What was recorded; none if nothing was, or if it was written by another version of the set-up.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        toml::from_str(&fs::read_to_string(directory.join(FILE)).ok()?).ok()
    }

    /// Replaces the record in one step, so that a build script never reads half of it.
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE);
        let partial = path.with_extension("partial");
        let text = toml::to_string(self).context("the record is not representable in TOML")?;
        fs::write(&partial, text).with_context(|| format!("cannot write {}", partial.display()))?;
        fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))
    }
}
