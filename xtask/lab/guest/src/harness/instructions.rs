//! Counts instructions, on a machine whose clock does: one processor, one nanosecond per instruction.

use std::fs;
use std::io;
use std::thread::{available_parallelism, sleep};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::facts;
use super::scenario::Skip;

/// The daemon's thread that takes samples.
const SAMPLER: &str = "zcrxd-sampler";

/// What each figure of a cost scenario is called, before its own name.
const PREFIX: &str = "cost/";

/// Keeps one figure for the host.
pub(crate) fn figure(name: &str, value: f64) -> Result<()> {
    println!("{name}: {value:.1}");
    facts::add(&format!("{PREFIX}{name}"), &format!("{value:.1}"))
}

/// Returns the middle one of several values; the smaller of the two in the middle where their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// Time after which a kernel that has booted has nothing left to do in the background. The machine skips idle time.
const SETTLED: Duration = Duration::from_secs(30);

/// Skips the scenario on a machine that does not count, and lets the kernel finish its start.
pub(crate) fn require_counting() -> Result<()> {
    // Machines that count have one processor, the others have two.
    if available_parallelism().is_ok_and(|processors| processors.get() > 1) {
        return Err(Skip("the machine does not count instructions: --count-instructions".to_owned()).into());
    }
    sleep(SETTLED);
    Ok(())
}

/// Returns the instructions that a process has run so far, in user space and in the kernel, with those of threads that have
/// ended.
pub(crate) fn of_process(pid: u32) -> Result<u64> {
    let mut clock = 0;
    // SAFETY: the kernel's name for the clock is written to an integer that lives long enough.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    ensure!(error == 0, "process {pid} has no clock: {}", io::Error::from_raw_os_error(error));
    nanoseconds(clock).with_context(|| format!("cannot read the clock of process {pid}"))
}

/// Returns the instructions that zcrxd has run so far, without those for its samples: a sample more or less is the largest
/// difference between two runs of anything else.
pub(crate) fn of_daemon_without_samples(pid: u32) -> Result<u64> {
    Ok(of_process(pid)?.saturating_sub(of_thread(pid, SAMPLER)?))
}

/// Returns the instructions that a process's thread of this name has run so far.
fn of_thread(pid: u32, name: &str) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    for entry in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))?.flatten() {
        if fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm.trim() == name) {
            let path = entry.path().join("schedstat");
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let first = text.split_whitespace().next().and_then(|field| field.parse().ok());
            return first.with_context(|| format!("{} is not as expected: {text}", path.display()));
        }
    }
    bail!("process {pid} has no thread {name}")
}

/// Reads a clock.
fn nanoseconds(clock: libc::clockid_t) -> io::Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is as large as the kernel writes.
    if unsafe { libc::clock_gettime(clock, &raw mut now) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// Returns the instructions that all tasks of the machine have run so far, with the interrupts that came while they ran.
pub(crate) fn of_machine() -> Result<u64> {
    // The scheduler adds the time of a task when the task stops running, so this task has to stop and start again first.
    sleep(Duration::from_millis(1));
    let text = fs::read_to_string("/proc/schedstat").context("cannot read /proc/schedstat")?;
    let processor = text.lines().find(|line| line.starts_with("cpu0 "));
    // Of the nine numbers after the name, the seventh is the time for which tasks ran.
    let ran = processor.and_then(|line| line.split_whitespace().nth(7)?.parse().ok());
    ran.with_context(|| format!("/proc/schedstat is not as expected: {text}"))
}
