//! The kinds of processor that programs, packages and guests are for, and how each part of the tool chain names them.

use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::command::{find, output, require, run};

/// A kind of processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    #[default]
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl FromStr for Architecture {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|one| [one.debian(), one.machine()].contains(&name));
        found.with_context(|| {
            format!("{name} is no architecture that zcrxd is built for: there are amd64 and arm64")
        })
    }
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// What this machine is.
    pub const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    /// Debian's name of it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The kernel's name of it in `uname -m`, which is also RPM's, QEMU's and Rust's.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// What kbuild's `ARCH` is for it.
    pub fn kbuild(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// What Rust builds for.
    pub fn rust(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The prefix of GNU's tools for it, and the name of its folder of libraries in Debian.
    pub fn gnu(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-linux-gnu",
            Self::Arm64 => "aarch64-linux-gnu",
        }
    }

    /// The name of one of GNU's tools for it: this machine's own has no prefix.
    pub fn gnu_tool(self, name: &str) -> String {
        if self == Self::HERE { name.to_owned() } else { format!("{}-{name}", self.gnu()) }
    }

    /// Makes this machine able to build for it: fetches Rust's standard library where rustup can.
    ///
    /// An error says what to install.
    pub fn require(self) -> Result<()> {
        self.prepare(&mut Command::new("cargo"))
    }

    /// Makes `cargo` able to build for it: installs Rust's standard library for it where rustup can, and sets the linker.
    ///
    /// An error says what to install.
    pub fn prepare(self, cargo: &mut Command) -> Result<()> {
        if self == Self::HERE {
            return Ok(());
        }
        let linker = self.gnu_tool("gcc");
        require(&linker, &format!("gcc-{} libc6-dev-{}-cross", self.gnu(), self.debian()))?;
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let library = Path::new(sysroot.trim_end()).join("lib/rustlib").join(self.rust());
        if !library.is_dir() {
            find("rustup").with_context(|| {
                format!(
                    "{} is absent: install Rust's standard library for {}",
                    library.display(),
                    self.rust()
                )
            })?;
            eprintln!("fetching Rust's standard library for {}", self.rust());
            run(Command::new("rustup").args(["target", "add", self.rust()]))?;
        }
        let variable = self.rust().replace('-', "_");
        cargo.env(format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()), &linker);
        cargo.env(format!("CC_{variable}"), &linker);
        cargo.env(format!("AR_{variable}"), self.gnu_tool("ar"));
        Ok(())
    }
}
