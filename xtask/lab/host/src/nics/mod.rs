//! The NIC of a guest: the software NIC, or an emulated one with the kernel's own driver.

mod fbnic;
mod qemu;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use xtask_tools::apt::Network;
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::Cache;
use xtask_tools::workspace::root;

use super::initramfs::Archive;
use super::kernels::{Kernel, Kernels};
use super::module::{self, Unavailable};

pub(crate) use self::qemu::Qemu;

/// Kinds of NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NicKind {
    /// The lab's own module, whose faults can be chosen
    Software,
    /// Google's gve driver on an emulated gVNIC
    Gve,
    /// Meta's fbnic driver on an emulated NIC
    Fbnic,
}

/// Emulated NICs for a machine, served by a process of their own.
#[derive(Clone, Debug)]
pub(crate) struct EmulatedNics {
    /// Their kind, as the program that serves them knows it.
    pub kind: &'static str,
    /// The QEMU that can use them.
    pub qemu: Qemu,
}

impl NicKind {
    /// Its name on the command line, in a guest, and in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::Gve => "gve",
            Self::Fbnic => "fbnic",
        }
    }

    /// How results name a series with this NIC.
    pub(crate) fn label(self, series: &str) -> String {
        match self {
            Self::Software => series.to_owned(),
            Self::Gve | Self::Fbnic => format!("{series} {}", self.name()),
        }
    }

    /// The flavour of a kernel that this NIC needs: fbnic needs PHY support, which Debian's kernel for virtual machines
    /// does not have.
    pub(crate) fn kernel(self, kernel: &Kernel) -> Kernel {
        match self {
            Self::Software | Self::Gve => kernel.clone(),
            Self::Fbnic => kernel.plain(),
        }
    }

    /// Fetches or builds what makes this NIC work, adds the modules to the archive, and returns the devices for QEMU.
    ///
    /// A NIC that cannot be fetched or built leaves its reason in the archive: scenarios that need a NIC are skipped with it.
    pub(crate) fn equip(
        self,
        cache: &Cache,
        network: Network,
        kernels: &Kernels,
        kernel: &Kernel,
        archive: &mut Archive,
    ) -> Result<Option<EmulatedNics>> {
        archive.text("/lab/nic/kind", self.name());
        let equipment = match self {
            Self::Software => module::build(cache, network, kernel, &root().join("xtask/lab/nic"))?
                .map(|module| (vec![module], None)),
            Self::Gve | Self::Fbnic if kernel.architecture() != Architecture::Amd64 => {
                Err(Unavailable(format!("the NIC kind {} is emulated for x86-64 guests only", self.name())))
            }
            Self::Gve => self.emulated(cache, network, || kernels.own_modules(kernel, &["gve"])),
            Self::Fbnic => self.emulated(cache, network, || {
                let mut modules = kernels.own_modules(kernel, &["phylink", "pcs_xpcs"])?;
                modules.push(fbnic::build(cache, network, kernel)?);
                Ok(modules)
            }),
        };
        match equipment {
            Ok((modules, nics)) => {
                for (place, module) in modules.iter().enumerate() {
                    let name = module.file_name().unwrap_or_default().to_string_lossy();
                    archive.file(Path::new("/lab/nic").join(format!("{place}-{name}")), module)?;
                }
                Ok(nics)
            }
            Err(Unavailable(reason)) => {
                archive.text("/lab/nic/unavailable", &reason);
                Ok(None)
            }
        }
    }

    /// An emulated NIC is unavailable where anything for it cannot be fetched or built: the lab goes on without.
    fn emulated(
        self,
        cache: &Cache,
        network: Network,
        modules: impl FnOnce() -> Result<Vec<PathBuf>>,
    ) -> Result<(Vec<PathBuf>, Option<EmulatedNics>), Unavailable> {
        let kind = self.name();
        let equipment = Qemu::with_vfio_user(cache, network).and_then(|qemu| Ok((modules()?, qemu)));
        match equipment {
            Ok((modules, qemu)) => Ok((modules, Some(EmulatedNics { kind, qemu }))),
            Err(error) => Err(Unavailable(format!("the NIC kind {kind} is unavailable: {error:#}"))),
        }
    }
}
