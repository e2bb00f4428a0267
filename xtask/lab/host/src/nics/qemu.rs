//! The QEMU that a machine runs on: the installed one, or a newer one for emulated NICs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use xtask_tools::apt::{Apt, Network};
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{output, require, run};

use crate::kernels::SUITES;

/// The device that QEMU serves over a socket. QEMU 10.1.
const DEVICE: &str = "vfio-user-pci";
const PACKAGE: &str = "qemu-system-x86";
const PROGRAM: &str = "qemu-system-x86_64";
/// Debian's suite with the newest QEMU for its stable release.
const SUITE: &str = SUITES[1];
/// Folders with libraries: the second is that of a library which finds its own parts by an absolute path.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio"];
/// Where QEMU looks for its own modules. Those of another build would end it.
const MODULES: (&str, &str) = ("QEMU_MODULE_DIR", "usr/lib/x86_64-linux-gnu/qemu");
/// Folders in which QEMU looks for firmware.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A QEMU.
#[derive(Clone, Debug)]
pub(crate) enum Qemu {
    /// The installed one.
    Installed,
    /// One unpacked into a folder of the cache, with all libraries of its release.
    Unpacked(PathBuf),
}

impl Qemu {
    /// A QEMU that has devices over vfio-user: the installed one if it has them, else Debian's newest.
    ///
    /// Its packages are unpacked, not installed, and run with their own loader: that needs no privilege, and leaves the
    /// machine as it is.
    pub(crate) fn with_vfio_user(cache: &Cache, network: Network) -> Result<Self> {
        if Self::Installed.has_vfio_user().is_ok_and(|has| has) {
            return Ok(Self::Installed);
        }
        let apt = Apt::open(cache, &SUITES, network)?;
        let versions = apt.madison(PACKAGE)?;
        let newest = versions.iter().find(|version| version.suite == SUITE);
        let newest = newest.with_context(|| format!("{SUITE} has no {PACKAGE}"))?;
        let key = Key::new().bytes(&newest.package).bytes(&newest.version).name();
        let directory = cache.build("lab/qemu", &key, |directory| {
            eprintln!("lab: fetching QEMU {} and its libraries", newest.version);
            let archives = directory.join("archives");
            for package in apt.download_with_dependencies(PACKAGE, SUITE, &archives)? {
                run(Command::new("dpkg-deb").arg("-x").arg(package).arg(directory.join("root")))?;
            }
            fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
        })?;
        let qemu = Self::Unpacked(directory.join("root"));
        ensure!(qemu.has_vfio_user()?, "QEMU {} has no {DEVICE}", newest.version);
        Ok(qemu)
    }

    /// A command line that begins with this QEMU, for a guest of this kind. The unpacked one emulates x86-64 alone.
    pub(crate) fn command(&self, architecture: Architecture) -> Result<Command> {
        match self {
            Self::Installed => Ok(Command::new(match architecture {
                Architecture::Amd64 => require(PROGRAM, PACKAGE)?,
                Architecture::Arm64 => require("qemu-system-aarch64", "qemu-system-arm")?,
            })),
            Self::Unpacked(root) => {
                let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
                let libraries: Vec<_> =
                    LIBRARIES.iter().map(|folder| root.join(folder).display().to_string()).collect();
                command.arg("--library-path").arg(libraries.join(":"));
                command.arg(root.join("usr/bin").join(PROGRAM)).env(MODULES.0, root.join(MODULES.1));
                for firmware in FIRMWARE {
                    command.arg("-L").arg(root.join(firmware));
                }
                Ok(command)
            }
        }
    }

    fn has_vfio_user(&self) -> Result<bool> {
        // Not a list of all devices, for which QEMU loads every module. The exit status is the same for unknown devices.
        let options =
            output(self.command(Architecture::Amd64)?.args(["-device", &format!("{DEVICE},help")]))?;
        Ok(options.contains(&format!("{DEVICE} options")))
    }
}
