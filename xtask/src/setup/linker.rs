//! bpf-linker, built against the very LLVM of the compiler: no llvm-dev package, no skew between the two.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::KIND;
use super::compiler::{Compiler, version};
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{find, output, run};
use xtask_tools::progress::step;

/// The program's name, as the compiler's BPF target asks for it.
pub(super) const NAME: &str = "bpf-linker";

/// The version that is built; an installed one may be newer.
const VERSION: &str = "0.13.0";

/// A bpf-linker that reads the compiler's bitcode.
pub(super) struct Linker {
    /// The folder it is in.
    pub bin: PathBuf,
    /// Its version.
    pub version: String,
}

/// Uses the installed linker if it fits the compiler, else builds one in the cache.
pub(super) fn find_or_build(cache: &Cache, compiler: &Compiler) -> Result<Linker> {
    if let Some(path) = find(NAME) {
        match installed(cache, &path, compiler) {
            Ok(linker) => {
                println!("  using {}", path.display());
                return Ok(linker);
            }
            Err(error) => println!("  not using {}: {error:#}", path.display()),
        }
    }
    let bin = build(cache, compiler)?.join("bin");
    accepts(cache, &bin.join(NAME), compiler).with_context(|| {
        format!("the linker just built does not work; remove {} and try again", bin.display())
    })?;
    Ok(Linker { bin, version: VERSION.to_owned() })
}

fn installed(cache: &Cache, path: &Path, compiler: &Compiler) -> Result<Linker> {
    let said = output(Command::new(path).arg("--version"))?;
    let found = said.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    if version(&found) < version(VERSION) {
        bail!("version {found} is older than {VERSION}");
    }
    accepts(cache, path, compiler)?;
    let bin = path.parent().context("a program lies in a folder")?.to_owned();
    Ok(Linker { bin, version: found })
}

/// Checks that the linker reads what the compiler writes: an empty crate, from source to BPF object.
pub(super) fn accepts(cache: &Cache, linker: &Path, compiler: &Compiler) -> Result<()> {
    let scratch = cache.directory(&format!("{KIND}/check-{}", std::process::id()))?;
    let linked = link_nothing(&scratch, linker, compiler);
    fs::remove_dir_all(&scratch).with_context(|| format!("cannot remove {}", scratch.display()))?;
    linked
}

fn link_nothing(scratch: &Path, linker: &Path, compiler: &Compiler) -> Result<()> {
    let source = scratch.join("empty.rs");
    let bitcode = scratch.join("empty.bc");
    let source_text = "#![feature(no_core)]\n#![no_core]\n#![crate_type = \"lib\"]\n";
    fs::write(&source, source_text).with_context(|| format!("cannot write {}", source.display()))?;
    run(Command::new(compiler.sysroot.join("bin/rustc"))
        .args(["--target", "bpfel-unknown-none", "--emit", "llvm-bc", "-g", "-o"])
        .args([&bitcode, &source])
        .env("RUSTC_BOOTSTRAP", "1"))?;
    run(Command::new(linker)
        .args(["--target", "bpfel", "--btf", "-o"])
        .args([&scratch.join("empty.o"), &bitcode]))
}

fn build(cache: &Cache, compiler: &Compiler) -> Result<PathBuf> {
    let library = library(compiler)?;
    let key = Key::new().bytes(compiler.title()).bytes(library.as_os_str().as_encoded_bytes()).name();
    // Its own entry: the linker remembers this path, and an entry that is being made has another one.
    let llvm = cache.build(KIND, &format!("llvm-{key}"), |prefix| link_library(&library, prefix))?;
    let target = cache.directory(&format!("{KIND}/build"))?;
    let major = version(compiler.llvm()).first().copied().unwrap_or_default();
    let features = format!("llvm-{major}");
    let arguments =
        ["install", NAME, "--version", VERSION, "--locked", "--no-default-features", "--features", &features];
    let linker = cache.build(KIND, &format!("{NAME}-{VERSION}-{key}"), |root| {
        step(&format!("building bpf-linker {VERSION} against LLVM {} (about a minute)", compiler.llvm()), || {
            run(Command::new(compiler.sysroot.join("bin/cargo"))
                .args(arguments)
                .args(["--quiet", "--root"])
                .arg(root)
                .env("RUSTC", compiler.sysroot.join("bin/rustc"))
                .env("LLVM_PREFIX", &llvm)
                // Kept while it is incomplete, so that an interrupted build goes on where it was.
                .env("CARGO_TARGET_DIR", &target)
                .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"))
            .with_context(|| {
                let by_hand = arguments.join(" ");
                format!(
                    "cannot build bpf-linker (it needs the crate registry and a C compiler); by hand:\n  LLVM_PREFIX={} cargo \
                     {by_hand}\nthen run `cargo xtask setup` again",
                    llvm.display()
                )
            })
        })
    })?;
    fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    Ok(linker)
}

/// The compiler's own libLLVM.
fn library(compiler: &Compiler) -> Result<PathBuf> {
    let lib = compiler.sysroot.join("lib");
    let multiarch = lib.join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let major = version(compiler.llvm()).first().copied().unwrap_or_default();
    let prefix = format!("libLLVM.so.{major}");
    [lib, multiarch]
        .iter()
        .filter_map(|directory| fs::read_dir(directory).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&prefix))
        })
        .with_context(|| {
            format!(
                "{} has no shared LLVM {major} of its own to build bpf-linker against: install one that fits, as \
                 `cargo install {NAME} --version {VERSION}`",
                compiler.title()
            )
        })
}

/// Lays the library out as bpf-linker's build expects an LLVM installation, and as the linker will load it.
fn link_library(library: &Path, prefix: &Path) -> Result<()> {
    let lib = prefix.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot make {}", lib.display()))?;
    let soname = library.file_name().context("a library has a name")?;
    for name in [soname, "libLLVM.so".as_ref()] {
        let link = lib.join(name);
        std::os::unix::fs::symlink(library, &link)
            .with_context(|| format!("cannot link {}", link.display()))?;
    }
    Ok(())
}
