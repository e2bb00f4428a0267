//! Meta's fbnic driver, which no kernel of Debian's is configured with: built from Debian's source of the same kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xtask_tools::apt::{Apt, Network};
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::run;

use crate::kernels::{Kernel, SUITES};
use crate::module::{build_root, in_build_root};

const FOLDER: &str = "drivers/net/ethernet/meta/fbnic";

/// The module for this kernel, which is of the plain flavour.
pub(super) fn build(cache: &Cache, network: Network, kernel: &Kernel) -> Result<PathBuf> {
    let key = Key::new().bytes(&kernel.release).bytes(&kernel.version).name();
    let directory = cache.build("lab/fbnic", &key, |directory| {
        let headers = kernel.headers.as_deref();
        let headers = headers.with_context(|| format!("Debian has no headers of {}", kernel.release))?;
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            bail!("building fbnic needs root, to change root");
        }
        let apt = Apt::open(cache, &SUITES, network)?;
        let root = build_root(cache, network, kernel, headers)?;
        eprintln!("lab: building fbnic for Linux {}", kernel.release);
        let (major, minor) = kernel.version_of_series();
        let package = format!("linux-source-{major}.{minor}");
        let source = apt.download(&package, &kernel.version, directory)?;
        unpack(&source, directory)?;
        compile(kernel, &root, directory)
    })?;
    Ok(directory.join("fbnic.ko"))
}

/// Takes the driver's folder out of the package with the kernel's source.
fn unpack(package: &Path, directory: &Path) -> Result<()> {
    let script = r#"set -e
        dpkg-deb --fsys-tarfile "$1" | tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' \
            | tar --extract --xz --directory "$2" --no-same-owner --strip-components=1 --wildcards "*/$3/*""#;
    run(Command::new("sh").args(["-c", script, "sh"]).arg(package).arg(directory).arg(FOLDER))?;
    fs::remove_file(package).with_context(|| format!("cannot remove {}", package.display()))?;
    let makefile = directory.join(FOLDER).join("Makefile");
    let text =
        fs::read_to_string(&makefile).with_context(|| format!("cannot read {}", makefile.display()))?;
    // The kernel's configuration does not name the driver: it is built as a module of its own.
    let text = text.replace("obj-$(CONFIG_FBNIC)", "obj-m");
    fs::write(&makefile, text).with_context(|| format!("cannot write {}", makefile.display()))
}

fn compile(kernel: &Kernel, root: &Path, directory: &Path) -> Result<()> {
    let sources = directory.join(FOLDER);
    // No headers package has phylink's symbols; therefore they cause warnings instead of errors, and the kernel resolves them
    // when it loads the module.
    in_build_root(kernel, root, &sources, "KBUILD_MODPOST_WARN=1")
        .with_context(|| format!("fbnic cannot be built for Linux {}", kernel.release))?;
    let module = sources.join("fbnic.ko");
    fs::rename(&module, directory.join("fbnic.ko"))
        .with_context(|| format!("cannot move {}", module.display()))?;
    fs::remove_dir_all(directory.join("drivers")).context("cannot remove the driver's source")
}
