//! The software NIC as a kernel module, built for one kernel with that kernel's headers and compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::kernels::{Kernel, SUITES};
use xtask_tools::apt::{Apt, Network};
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{require, run};

/// The kind of the cache's entries that hold modules.
const KIND: &str = "lab/nic";

/// The series whose interface for queue management the module is written to.
const NEEDED: (u32, u32) = (7, 2);

/// Why there is no module, as opposed to a module that does not build.
#[derive(Debug)]
pub(crate) struct Unavailable(pub String);

/// The module for this kernel: built, not available on this machine, or (an error) broken.
pub(crate) fn build(
    cache: &Cache,
    network: Network,
    kernel: &Kernel,
    sources: &Path,
) -> Result<Result<PathBuf, Unavailable>> {
    if kernel.version_of_series() < NEEDED {
        let (major, minor) = NEEDED;
        return Ok(Err(Unavailable(format!(
            "the software NIC needs Linux {major}.{minor}, for its queue configuration"
        ))));
    }
    let Some(headers) = &kernel.headers else {
        return Ok(Err(Unavailable(format!(
            "Debian has no headers of {} to build the software NIC with",
            kernel.release
        ))));
    };
    let files = source_files(sources)?;
    let mut key = Key::new().bytes(&kernel.release).bytes(&kernel.version);
    for file in &files {
        key = key.bytes(file.file_name().unwrap_or_default().as_encoded_bytes()).file(file)?;
    }
    let key = key.name();
    let directory = if let Some(directory) = cache.get(KIND, &key) {
        directory
    } else {
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            return Ok(Err(Unavailable("building the software NIC needs root, to change root".to_owned())));
        }
        let root = match build_root(cache, network, kernel, headers) {
            Ok(root) => root,
            Err(error) => {
                return Ok(Err(Unavailable(format!("the software NIC cannot be built: {error:#}"))));
            }
        };
        cache.build(KIND, &key, |directory| compile(kernel, &files, &root, directory))?
    };
    let mut entries = fs::read_dir(&directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()));
    let module = entries.find(|path| path.extension().is_some_and(|extension| extension == "ko"));
    module.with_context(|| format!("building in {} made no module", sources.display())).map(Ok)
}

fn source_files(sources: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(sources).with_context(|| format!("cannot read {}", sources.display()))?;
    let mut files: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let source = path.extension().is_some_and(|extension| extension == "c" || extension == "h");
            source || path.ends_with("Makefile") || path.ends_with("Kbuild")
        })
        .collect();
    files.sort();
    Ok(files)
}

fn compile(kernel: &Kernel, files: &[PathBuf], root: &Path, directory: &Path) -> Result<()> {
    eprintln!("lab: building the software NIC for Linux {}", kernel.release);
    for file in files {
        let target = directory.join(file.file_name().context("a source has a name")?);
        fs::copy(file, &target).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    in_build_root(kernel, root, directory, "")
        .with_context(|| format!("the software NIC cannot be built for Linux {}", kernel.release))
}

/// Builds the modules in a folder; `options` are further ones for make.
pub(crate) fn in_build_root(kernel: &Kernel, root: &Path, sources: &Path, options: &str) -> Result<()> {
    // A mount namespace of its own hides the two mounts from other processes and undoes them at the end.
    let script = r#"set -e
        mount --bind "$1" "$2/mnt"
        mount -t proc proc "$2/proc"
        chroot "$2" make -s -j2 "ARCH=$4" "CROSS_COMPILE=$5-" -C "/usr/src/linux-headers-$3" M=/mnt $6 modules
        chroot "$2" sh -c "$5-strip --strip-debug /mnt/*.ko""#;
    let architecture = kernel.architecture();
    run(Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(sources)
        .arg(root)
        .args([&kernel.release, architecture.kbuild(), architecture.gnu(), options]))
}

/// A folder with the kernel's headers and the compiler that made it, to change root into.
///
/// For another kind of machine that is a cross compiler of this one's: nothing in there is emulated.
pub(crate) fn build_root(cache: &Cache, network: Network, kernel: &Kernel, headers: &str) -> Result<PathBuf> {
    let key = Key::new().bytes(headers).bytes(&kernel.version).name();
    let directory = cache.build("lab/build-root", &key, |directory| {
        if network == Network::Offline {
            bail!("the compiler and headers of {} were not fetched before", kernel.release);
        }
        let mmdebstrap = require("mmdebstrap", "mmdebstrap")?;
        eprintln!("lab: preparing headers and compiler of Linux {}", kernel.release);
        let apt = Apt::open(cache, &SUITES, network)?;
        let sources = directory.join("sources.list");
        fs::write(&sources, apt.sources()).with_context(|| format!("cannot write {}", sources.display()))?;
        let (here, there) = (Architecture::HERE, kernel.architecture());
        let (architectures, compiler) = if here == there {
            (here.debian().to_owned(), "gcc-14".to_owned())
        } else {
            (format!("{},{}", here.debian(), there.debian()), format!("gcc-14-{}", there.gnu()))
        };
        run(Command::new(mmdebstrap)
            .args(["--variant=essential", "--mode=root"])
            .arg(format!("--architectures={architectures}"))
            .arg(format!("--include=make,{compiler},{headers}:{}={}", there.debian(), kernel.version))
            .arg(SUITES[0])
            .arg(directory.join("root"))
            .arg(&sources)
            .stdin(Stdio::null()))
    })?;
    Ok(directory.join("root"))
}
