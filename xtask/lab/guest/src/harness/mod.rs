//! What a scenario is written with.

pub(crate) mod btf;
pub(crate) mod counts;
pub(crate) mod crowd;
pub(crate) mod daemon;
pub(crate) mod diagnosis;
pub(crate) mod facts;
pub(crate) mod failures;
pub(crate) mod features;
pub(crate) mod foreign;
pub(crate) mod instructions;
pub(crate) mod kprobe;
pub(crate) mod metrics;
pub(crate) mod moved_field;
pub(crate) mod namespace;
pub(crate) mod nic;
pub(crate) mod page_pool;
pub(crate) mod process;
pub(crate) mod promptness;
pub(crate) mod random;
pub(crate) mod receiver;
pub(crate) mod scenario;
pub(crate) mod seccomp;
pub(crate) mod service;
pub(crate) mod sockets;
pub(crate) mod steal;
pub(crate) mod symbols;
pub(crate) mod traffic;
pub(crate) mod xdp;
pub(crate) mod xsk;
pub(crate) mod zero_copy;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Hard stop of one step of a scenario: an emulated machine on a busy host is slow. Time never decides a result.
pub(crate) const STEP_LIMIT: Duration = Duration::from_mins(1);

/// The folder that a scenario may write to; emptied before each.
pub(crate) fn work() -> PathBuf {
    std::env::var_os("ZCRX_LAB_WORK").map_or_else(|| PathBuf::from("/work"), PathBuf::from)
}

/// What is written here is handed to the host.
pub(crate) fn artefacts() -> PathBuf {
    work().join("artefacts")
}

/// Where a scenario leaves why it failed or was skipped.
pub(crate) fn verdict() -> PathBuf {
    work().join("verdict")
}

/// Empties the work folder.
pub(crate) fn clear_work() -> Result<()> {
    let work = work();
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    for entry in fs::read_dir(&work).with_context(|| format!("cannot read {}", work.display()))? {
        let path = entry.context("cannot read the work folder")?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    fs::create_dir_all(artefacts()).context("cannot make the folder for artefacts")
}

/// One of the project's programs: they lie beside this one.
pub(crate) fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/lab/guest"));
    own.with_file_name(name)
}

/// Size of a page on this kernel, bytes.
pub(crate) fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and has no effect.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// The size of an area of so many pages, as zcrxd's configuration has it.
pub(crate) fn area(pages: u64) -> String {
    format!("{}KiB", pages * page_bytes() / 1024)
}

/// The running kernel's release.
pub(crate) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// Sets an interface of the current network namespace up.
pub(crate) fn link_up(interface: &str) -> Result<()> {
    output(Command::new("ip").args(["link", "set", interface, "up"])).map(drop)
}

/// Runs a program to its end; its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {line}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{line} failed ({}): {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{line} printed something that is not UTF-8"))
}

/// Asks until the answer is there: much of the kernel's work (tearing rings down, draining pools) is done later.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            bail!("not within {} s: {what}", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
