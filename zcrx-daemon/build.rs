//! Builds the eBPF object that the daemon carries, or an empty file in its place.
//!
//! The BPF target needs a compiler that comes with the standard library's source, and bpf-linker. Both are
//! found by `ZCRX_BPF_TOOLCHAIN` (a rustup toolchain; bpf-linker on `PATH`), else in the note that
//! `cargo xtask setup` leaves in the project's cache. Without either the daemon is built all the same: it
//! then says of every probe that it was built without its programs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

/// What aya-build names the object, after the binary of the eBPF crate.
const OBJECT: &str = "zcrx-ebpf";

fn main() -> Result<()> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR not set")?);
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("CARGO_MANIFEST_DIR not set")?);
    let workspace = manifest.parent().context("the daemon's crate lies in a workspace")?;
    for watched in ["zcrx-common", "Cargo.lock", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(watched).display());
    }
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        // The linker would compute it from debug information too, which names the folder of the build and is in no package: two
        // builds of the same sources would differ.
        println!("cargo::rustc-link-arg-bins=-Wl,--build-id=none");
    }

    runbook(&workspace.join("docs/runbook"), &out_dir.join("runbook.rs"))?;

    let object = out_dir.join(OBJECT);
    // A build without programs must not pick up those of an earlier one.
    fs::write(&object, []).with_context(|| format!("write {}", object.display()))?;
    if let Some(toolchain) = Toolchain::find()? {
        toolchain.use_it()?;
        let root = workspace.join(OBJECT);
        let package = aya_build::Package {
            name: OBJECT,
            root_dir: root.to_str().context("the path of the workspace is not UTF-8")?,
            ..aya_build::Package::default()
        };
        aya_build::build_ebpf([package], aya_build::Toolchain::Custom(&toolchain.name))?;
    } else {
        println!(
            "cargo::warning=building without eBPF programs, so without kernel probes: run `cargo xtask setup`, \
             then build again"
        );
    }
    Ok(())
}

/// Writes a list of the runbook's pages, names and texts, as an expression.
fn runbook(folder: &Path, list: &Path) -> Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_stem().and_then(|name| name.to_str()).context("a page's name is not UTF-8")?;
        let path = path.canonicalize()?;
        let path = path.to_str().context("the path of the workspace is not UTF-8")?;
        pages.push(format!("    ({name:?}, include_str!({path:?})),\n"));
    }
    pages.sort();
    fs::write(list, format!("&[\n{}]\n", pages.concat())).with_context(|| format!("write {}", list.display()))
}

/// A compiler for the BPF target.
struct Toolchain {
    /// Its name in rustup, or the path it is installed at.
    name: String,
    /// Directory that holds bpf-linker, unless that is on `PATH`.
    linker: Option<PathBuf>,
}

impl Toolchain {
    fn find() -> Result<Option<Self>> {
        const BY_NAME: &str = "ZCRX_BPF_TOOLCHAIN";
        println!("cargo::rerun-if-env-changed={BY_NAME}");
        if let Some(name) = env::var(BY_NAME).ok().filter(|name| !name.is_empty()) {
            println!("cargo::rerun-if-env-changed=PATH");
            return Ok(Some(Self { name, linker: None }));
        }
        let Some(note) = cache().map(|cache| cache.join("ebpf/toolchain.toml")) else { return Ok(None) };
        // While the note is missing cargo runs this script every time: it is how the note gets noticed.
        println!("cargo::rerun-if-changed={}", note.display());
        if !note.exists() {
            return Ok(None);
        }
        Self::from_note(&note)
            .with_context(|| format!("{} is damaged: remove it and run `cargo xtask setup`", note.display()))
    }

    fn from_note(note: &Path) -> Result<Option<Self>> {
        let table: toml::Table = fs::read_to_string(note)?.parse()?;
        let text = |key: &str| {
            let value = table.get(key).and_then(toml::Value::as_str);
            value.with_context(|| format!("key `{key}` is missing or no string"))
        };
        Ok(Some(Self { name: text("toolchain")?.to_owned(), linker: Some(text("bin")?.into()) }))
    }

    /// Sets up this process's environment, which the inner cargo inherits.
    fn use_it(&self) -> Result<()> {
        let root = Path::new(&self.name);
        // A path needs no rustup to be run: a system's own compiler may be all there is.
        let mut rustc =
            Command::new(if root.is_absolute() { root.join("bin/rustc") } else { "rustup".into() });
        if !root.is_absolute() {
            rustc.args(["run", &self.name, "rustc"]);
        }
        let version = rustc
            .arg("--version")
            .output()
            .with_context(|| format!("run rustc of toolchain {}", self.name))?;
        anyhow::ensure!(
            version.status.success(),
            "toolchain {} does not work: {}; run `cargo xtask setup`",
            self.name,
            String::from_utf8_lossy(&version.stderr).trim()
        );
        // aya-build turns every line of the inner cargo into a warning: only what is one should be.
        // SAFETY: nothing else runs in this process yet.
        unsafe { env::set_var("CARGO_TERM_QUIET", "true") };
        // aya-build adds `-Z build-std` for a nightly compiler, or when this variable is set.
        if !String::from_utf8_lossy(&version.stdout).contains("-nightly") {
            // SAFETY: as above.
            unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
        }
        if let Some(linker) = &self.linker {
            let old = env::var_os("PATH").unwrap_or_default();
            let path = env::join_paths([linker.clone()].into_iter().chain(env::split_paths(&old)))?;
            // SAFETY: as above.
            unsafe { env::set_var("PATH", path) };
        }
        Ok(())
    }
}

/// The project's cache directory, by the same rule as xtask.
fn cache() -> Option<PathBuf> {
    let variable = |name: &str| {
        println!("cargo::rerun-if-env-changed={name}");
        env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    variable("ZCRX_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|base| base.join("zcrxd")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/zcrxd")))
}
