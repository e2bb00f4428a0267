//! An independent count of calls: the kernel's own kprobe events, which share nothing with zcrxd's programs.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

const TRACING: &str = "/sys/kernel/tracing";

/// A counter on one kernel function; gone when dropped.
#[derive(Debug)]
pub(crate) struct Kprobe {
    event: String,
}

impl Kprobe {
    /// Counts calls of a function from now on; `None` if this kernel has no such function to probe.
    pub(crate) fn count(function: &str) -> Option<Self> {
        let event = function.replace('.', "_");
        append("kprobe_events", &format!("p:lab/{event} {function}")).ok()?;
        let kprobe = Self { event };
        // With names of tasks, an event would also switch the scheduler's tracepoints on and off: code that runs all the time, and
        // that an emulated machine survives less often the more often it is patched.
        fs::write(Path::new(TRACING).join("options/record-cmd"), "0").ok()?;
        fs::write(kprobe.enable(), "1").ok()?;
        Some(kprobe)
    }

    /// Calls so far.
    pub(crate) fn hits(&self) -> Result<u64> {
        let path = Path::new(TRACING).join("kprobe_profile");
        let profile = fs::read_to_string(&path).context("cannot read kprobe_profile")?;
        let hits = profile.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == self.event).then(|| words.next()?.parse().ok())?
        });
        hits.with_context(|| format!("kprobe_profile has no {}", self.event))
    }

    fn enable(&self) -> std::path::PathBuf {
        Path::new(TRACING).join("events/lab").join(&self.event).join("enable")
    }
}

impl Drop for Kprobe {
    fn drop(&mut self) {
        // What is left behind goes with the guest.
        fs::write(self.enable(), "0").ok();
        append("kprobe_events", &format!("-:lab/{}", self.event)).ok();
    }
}

fn append(file: &str, line: &str) -> Result<()> {
    let path = Path::new(TRACING).join(file);
    let mut file = File::options()
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(line.as_bytes()).with_context(|| format!("cannot write {line:?} to {}", path.display()))
}
