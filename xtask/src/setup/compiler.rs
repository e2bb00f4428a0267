//! A compiler that can build the standard library for the BPF target: found, or put together.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::KIND;
use xtask_tools::apt::{Apt, Network};
use xtask_tools::cache::Cache;
use xtask_tools::command::{find, output, run};
use xtask_tools::deb::{install, unpack};
use xtask_tools::progress::step;

/// Variable that names the toolchain to use instead of the found one; the daemon's build script reads it too.
const CHOICE: &str = "ZCRX_BPF_TOOLCHAIN";

/// The Debian suites that keep the standard library's source of several recent compilers.
const SUITES: [&str; 1] = ["trixie-backports"];

/// Debian's own compiler and source, kept in lockstep, for releases whose ordinary compiler is old.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The oldest compiler that builds this workspace.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

/// A Rust compiler with its own LLVM.
#[derive(Debug)]
pub(super) struct Compiler {
    /// The root of its installation.
    pub sysroot: PathBuf,
    /// What `rustc -vV` says.
    about: String,
}

impl Compiler {
    /// The compiler whose installation is rooted there.
    pub(super) fn at(sysroot: &Path) -> Result<Self> {
        let about = output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?;
        Ok(Self { sysroot: sysroot.to_owned(), about })
    }

    /// What `rustc -V` says: release, commit and date.
    pub(super) fn title(&self) -> String {
        self.about.lines().next().unwrap_or_default().to_owned()
    }

    /// The release, such as `1.95.0` or `1.97.0-nightly`.
    pub(super) fn release(&self) -> &str {
        self.field("release")
    }

    /// The version of the LLVM inside, such as `22.1.2`.
    pub(super) fn llvm(&self) -> &str {
        self.field("LLVM version")
    }

    /// The machine it runs on, such as `x86_64-unknown-linux-gnu`.
    pub(super) fn host(&self) -> &str {
        self.field("host")
    }

    /// Whether the standard library's source lies where cargo looks for it.
    pub(super) fn has_source(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/Cargo.lock").is_file()
    }

    fn field(&self, name: &str) -> &str {
        self.about.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
    }

    /// Why this compiler cannot build the eBPF object; none if it can.
    fn objection(&self) -> Option<String> {
        if version(self.release()) < version(OLDEST) {
            Some(format!("older than {OLDEST}"))
        } else if !self.has_source() {
            Some("without the standard library's source (rust-src)".to_owned())
        } else {
            None
        }
    }
}

/// The sysroot of the toolchain that the user named in the environment, if one was named.
pub(super) fn chosen_by_user() -> Option<Result<PathBuf>> {
    let name = std::env::var(CHOICE).ok().filter(|name| !name.is_empty())?;
    Some(sysroot(Command::new("rustup").args(["run", &name, "rustc"])).map_err(|_| {
        anyhow::anyhow!("{CHOICE} names {name}, which rustup cannot run: remedy it, or unset {CHOICE}")
    }))
}

/// Finds a compiler with its source, or makes one by the first way that works here.
pub(super) fn find_or_fetch(cache: &Cache) -> Result<Compiler> {
    if let Some(sysroot) = chosen_by_user() {
        let compiler = Compiler::at(&sysroot?)?;
        return match compiler.objection() {
            None => Ok(compiler),
            Some(objection) => bail!("{CHOICE} names {}, which is {objection}", compiler.title()),
        };
    }
    let installed = step("looking for a Rust toolchain with rust-src", || Ok(installed()))?;
    let mut refusals = Vec::new();
    for compiler in installed.iter().filter_map(|sysroot| Compiler::at(sysroot).ok()) {
        match compiler.objection() {
            None => {
                println!("  using {}", compiler.sysroot.display());
                return Ok(compiler);
            }
            Some(objection) => refusals.push(format!("{} is {objection}", compiler.title())),
        }
    }
    if find("rustup").is_none() {
        refusals.push("rustup is not installed, so no other compiler can be used beside it".to_owned());
        return Err(by_hand(&refusals));
    }
    let active = installed.first().and_then(|sysroot| Compiler::at(sysroot).ok());
    if let Some(active) = active {
        match with_source_of_debian(cache, &active) {
            Ok(compiler) => return Ok(compiler),
            Err(error) => refusals.push(format!("rust-src {} of Debian: {error:#}", active.release())),
        }
    }
    match debian(cache) {
        Ok(compiler) => Ok(compiler),
        Err(error) => {
            refusals.push(format!("{}: {error:#}", DEBIAN_PACKAGES.join(", ")));
            Err(by_hand(&refusals))
        }
    }
}

/// The sysroots of the installed toolchains, the active one first.
fn installed() -> Vec<PathBuf> {
    let active = sysroot(&mut Command::new("rustc"));
    let list = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let named = list.lines().filter_map(|line| line.split_whitespace().next());
    let mut sysroots: Vec<PathBuf> = Vec::new();
    for sysroot in std::iter::once(active)
        .chain(named.map(|name| sysroot(Command::new("rustup").args(["run", name, "rustc"]))))
        .flatten()
    {
        if !sysroots.contains(&sysroot) {
            sysroots.push(sysroot);
        }
    }
    sysroots
}

fn sysroot(rustc: &mut Command) -> Result<PathBuf> {
    Ok(output(rustc.args(["--print", "sysroot"]))?.trim_end().into())
}

/// Lays Debian's source of the same version beside a copy of the active toolchain, in the cache.
///
/// The package is taken apart, not installed, so this needs no privilege.
fn with_source_of_debian(cache: &Cache, active: &Compiler) -> Result<Compiler> {
    let release = active.release();
    if active.sysroot.starts_with("/usr") {
        bail!("the active compiler belongs to the system");
    }
    let key = format!("rust-{release}-{}", active.host());
    let fetch = |toolchain: &Path| {
        let apt = step(&format!("fetching the package lists of Debian {}", SUITES.join(", ")), || {
            Apt::open(cache, &SUITES, Network::Online)
        })?;
        let prefix = format!("{release}+");
        let versions = apt.madison("rust-src")?;
        let exact = versions.iter().find(|candidate| candidate.version.starts_with(&prefix));
        let exact = exact.with_context(|| format!("{} has no such version", SUITES.join(", ")))?;
        let package = step(&format!("fetching rust-src {}", exact.version), || {
            apt.download(&exact.package, &exact.version, toolchain)
        })?;
        step("copying the active toolchain (hard links where possible)", || {
            copy(&active.sysroot, toolchain)
        })?;
        let source = toolchain.join("lib/rustlib/src/rust");
        // ./usr/src/rustc-VERSION/library/...
        step("unpacking the source beside it", || unpack(&package, "./usr/src/rustc-*/library", 4, &source))?;
        fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))
    };
    let toolchain = cache.build(KIND, &key, fetch)?;
    let compiler = Compiler::at(&toolchain)?;
    match compiler.objection() {
        None => Ok(compiler),
        Some(objection) => bail!("{} is {objection}: remove that folder", toolchain.display()),
    }
}

/// Copies what a compiler needs to run. Links cost no room; another file system or owner makes it a real copy.
fn copy(from: &Path, to: &Path) -> Result<()> {
    for part in ["bin", "lib"] {
        let (from, to) = (from.join(part), to.join(part));
        if run(Command::new("cp").args(["-a", "--link"]).arg(&from).arg(&to)).is_err() {
            if to.exists() {
                fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
            }
            run(Command::new("cp").args(["-a", "--no-preserve=ownership"]).arg(&from).arg(&to))?;
        }
    }
    Ok(())
}

/// Installs Debian's own compiler beside whatever else there is.
fn debian(cache: &Cache) -> Result<Compiler> {
    step(&format!("apt-get install {}", DEBIAN_PACKAGES.join(" ")), || install(cache, &DEBIAN_PACKAGES))?;
    let compiler = Compiler::at(Path::new("/usr"))?;
    match compiler.objection() {
        None => Ok(compiler),
        Some(objection) => bail!("{} is {objection}", compiler.title()),
    }
}

fn by_hand(refusals: &[String]) -> anyhow::Error {
    let mut ways = String::new();
    if find("rustup").is_some() {
        ways += "\n  rustup toolchain install nightly --profile minimal --component rust-src\
                 \n  rustup component add rust-src        (adds it to the active toolchain)";
    } else {
        ways += "\n  install rustup, then: rustup toolchain install nightly --profile minimal --component rust-src";
    }
    if find("apt-get").is_some() {
        ways += "\n  sudo apt-get update && sudo apt-get install --no-install-recommends ";
        ways += &DEBIAN_PACKAGES.join(" ");
    }
    anyhow::anyhow!(
        "no compiler here can build for the BPF target:\n  {}\ndo one of these by hand, then run `cargo xtask setup` \
         again:{ways}",
        refusals.join("\n  ")
    )
}

/// The numbers of a version, for comparing; what follows a dash does not count.
pub(super) fn version(text: &str) -> Vec<u32> {
    let numbers = text.split('-').next().unwrap_or_default();
    numbers.split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("1.100.0") > version("1.95"));
        assert!(version("1.97.0-nightly") >= version("1.95.0"));
        assert!(version("1.95.0") >= version("1.95"));
        assert!(version("1.85.0") < version("1.95"));
        assert!(version("") < version("1.95"), "a compiler that says no version is no candidate");
    }
}
