//! Asks systemd whether it stops zcrxd for good or in order to start it again.
//!
//! The signal is the same in both cases. systemd knows the difference as the type of the service's job, which it shows to every
//! user.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tracing::warn;

/// How long zcrxd waits for the answer. It goes on receiving meanwhile. On a busy machine the answer takes seconds; without one,
/// zcrxd stops for good.
const LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(5);

/// Name of the service where a cgroup namespace hides it.
const USUAL_UNIT: &str = "zcrxd.service";

/// Type of the job that stops a service and starts it again.
const RESTART: &str = "restart";

/// Whether systemd will start this service again as soon as it has ended. Blocks until systemd answers, or [`LIMIT`] is over.
pub(super) fn is_requested() -> bool {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unit = unit(&cgroups).unwrap_or_else(|| USUAL_UNIT.to_owned());
    match jobs(&unit) {
        Ok(jobs) => restarts(&jobs, &unit),
        Err(error) => {
            warn!(
                %error,
                "cannot ask systemd whether this is a restart (systemctl list-jobs {unit}): ending connections as for a stop"
            );
            false
        }
    }
}

/// Name of the service in the text of `/proc/self/cgroup`.
fn unit(cgroups: &str) -> Option<String> {
    // Version 2 has one line, `0::/PATH`; version 1 has systemd's own hierarchy.
    let of_systemd = |line: &&str| line.starts_with("0::") || line.contains(":name=systemd:");
    let mut paths = cgroups.lines().filter(of_systemd).filter_map(|line| line.splitn(3, ':').nth(2));
    let unit = paths.find_map(|path| path.rsplit('/').find(|part| part.ends_with(".service")))?;
    Some(unit.to_owned())
}

/// The jobs of a unit, as systemctl prints them.
fn jobs(unit: &str) -> std::io::Result<String> {
    let mut child = Command::new("systemctl")
        .args(["list-jobs", "--no-legend", "--no-pager", "--full", "--", unit])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() < end => thread::sleep(POLL),
            None => {
                child.kill()?;
                child.wait()?;
                return Err(std::io::ErrorKind::TimedOut.into());
            }
        }
    };
    if !status.success() {
        return Err(std::io::Error::other(format!("{status}")));
    }
    let mut text = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Whether a job of this list restarts the unit. Each line has a number, the unit, the type and the state.
fn restarts(jobs: &str, unit: &str) -> bool {
    jobs.lines().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(1..3) == Some(&[unit, RESTART])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_is_found_in_both_versions_of_cgroups() {
        let name = |text| unit(text).unwrap_or_default();
        assert_eq!(name("0::/system.slice/zcrxd.service\n"), "zcrxd.service");
        assert_eq!(name("0::/system.slice/zcrxd.service/sub\n"), "zcrxd.service");
        assert_eq!(
            name("5:memory:/user.slice/a.service\n1:name=systemd:/system.slice/zcrxd.service\n0::/\n"),
            "zcrxd.service"
        );
        assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn only_a_restart_of_this_service_counts() {
        let unit = "zcrxd.service";
        assert!(restarts("1234 zcrxd.service restart running\n", unit));
        assert!(!restarts("1234 zcrxd.service stop running\n", unit));
        assert!(!restarts("1234 zcrxd.socket restart running\n", unit));
        assert!(!restarts("No jobs running.\n", unit));
    }
}
