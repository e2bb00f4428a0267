//! `cargo xtask setup`: makes this machine able to build the eBPF object.
//!
//! Two things are needed: a compiler with the standard library's source of exactly its own version (for
//! `-Z build-std=core`), and a bpf-linker that reads that compiler's LLVM bitcode. What is there is used; what is
//! missing is made in the project's cache. The result is recorded there for the daemon's build script.

mod compiler;
mod linker;
mod record;

use std::time::Instant;

use anyhow::Result;
use clap::Args;

use self::compiler::Compiler;
pub(crate) use self::record::Record;
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::Cache;
use xtask_tools::progress::step;

/// Where the project's things are in the cache.
const KIND: &str = "ebpf";

/// What to set up.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Also make this machine able to build for these: amd64 or arm64
    #[arg(long, value_name = "ARCHITECTURE")]
    target: Option<Architecture>,
}

/// Does what is missing, for the eBPF object and for building for other machines.
pub(crate) fn run_with(cache: &Cache, options: &Options) -> Result<()> {
    run(cache)?;
    if let Some(architecture) = options.target {
        step(&format!("looking for what builds for {}", architecture.debian()), || architecture.require())?;
    }
    Ok(())
}

/// Does what is missing for the eBPF object, says so, and returns what builds the eBPF object.
pub(crate) fn run(cache: &Cache) -> Result<Record> {
    let begin = Instant::now();
    let _lock = cache.lock(&format!("{KIND}/setup"))?;
    let directory = cache.directory(KIND)?;
    let record = match Record::read(&directory).filter(|record| record.works(cache)) {
        Some(record) => record,
        None => make(cache, &directory)?,
    };
    println!(
        "eBPF toolchain: {}, bpf-linker {} ({:.1} s)",
        record.rustc,
        record.bpf_linker,
        begin.elapsed().as_secs_f64()
    );
    Ok(record)
}

fn make(cache: &Cache, directory: &std::path::Path) -> Result<Record> {
    println!("preparing the eBPF toolchain in {}", directory.display());
    let compiler = compiler::find_or_fetch(cache)?;
    let linker = linker::find_or_build(cache, &compiler)?;
    let record = Record {
        toolchain: compiler.sysroot.clone(),
        bin: linker.bin,
        rustc: compiler.title(),
        bpf_linker: linker.version,
    };
    step("recording the result", || record.write(directory))?;
    Ok(record)
}

impl Record {
    /// Whether what is recorded is still there, and still fits together.
    fn works(&self, cache: &Cache) -> bool {
        if compiler::chosen_by_user()
            .is_some_and(|chosen| chosen.is_ok_and(|sysroot| sysroot != self.toolchain))
        {
            return false;
        }
        Compiler::at(&self.toolchain).is_ok_and(|compiler| {
            compiler.title() == self.rustc
                && compiler.has_source()
                && linker::accepts(cache, &self.bin.join(linker::NAME), &compiler).is_ok()
        })
    }
}
