//! Counts instructions, on a machine whose clock does: one processor, one nanosecond per instruction.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result, ensure};

use super::facts;
use super::scenario::Skip;

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

/// Skips the scenario on a machine that does not count.
pub(crate) fn require_counting() -> Result<()> {
    // Machines that count have one processor, the others have two.
    if available_parallelism().is_ok_and(|processors| processors.get() > 1) {
        return Err(Skip("the machine does not count instructions: --count-instructions".to_owned()).into());
    }
    Ok(())
}

/// Instructions that all threads of a process have run so far, in user space and in the kernel.
///
/// The instructions of threads that have ended are not in it.
pub(crate) fn of_process(pid: u32) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut sum = 0;
    for entry in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))?.flatten() {
        let path = entry.path().join("schedstat");
        // A thread that has ended since the folder was read has no file any more.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let first = text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        sum += first.with_context(|| format!("{} is not as expected: {text}", path.display()))?;
    }
    Ok(sum)
}

/// Instructions that the whole machine has run so far.
pub(crate) fn of_machine() -> Result<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is as large as the kernel writes.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &raw mut now) };
    ensure!(result == 0, "Linux has this clock");
    let elapsed = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    // The machine's clock runs on while the processor idles; the kernel says for how long that was.
    let timers = fs::read_to_string("/proc/timer_list").context("cannot read /proc/timer_list")?;
    let idle = timers.lines().find_map(|line| line.trim().strip_prefix(".idle_sleeptime"));
    let idle =
        idle.and_then(|line| line.split_whitespace().nth(1)).and_then(|field| field.parse::<u64>().ok());
    Ok(elapsed - idle.context("/proc/timer_list does not say how long the processor was idle")?)
}
