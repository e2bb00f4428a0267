//! Switches of the kernel that decide over probes and io_uring.

use std::str::FromStr;

use super::Part;

/// The switches, each as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctls {
    /// `kernel.io_uring_disabled`: 0 for all, 1 only with CAP_SYS_ADMIN or in `io_uring_group`, 2 for no process.
    /// Linux 6.6.
    pub io_uring_disabled: Part<u32>,
    /// `kernel.unprivileged_bpf_disabled`: 0 allowed, 1 never again, 2 not now.
    pub unprivileged_bpf_disabled: Part<u32>,
    /// `kernel.perf_event_paranoid`: from 3 (a distribution's patch) on, kprobes ask for CAP_SYS_ADMIN.
    pub perf_event_paranoid: Part<i32>,
    /// `kernel.kptr_restrict`: 0 addresses shown, 1 with CAP_SYSLOG, 2 never.
    pub kptr_restrict: Part<u32>,
}

impl Sysctls {
    pub(super) fn read() -> Self {
        Self {
            io_uring_disabled: read("kernel/io_uring_disabled"),
            unprivileged_bpf_disabled: read("kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: read("kernel/perf_event_paranoid"),
            kptr_restrict: read("kernel/kptr_restrict"),
        }
    }
}

fn read<T: FromStr>(name: &str) -> Part<T> {
    let path = format!("/proc/sys/{name}");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    text.trim().parse().map_err(|_| format!("{path}: \"{}\" is no number in range", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_switch_names_its_path() {
        let reason = read::<u32>("kernel/no_such_switch").expect_err("it does not exist");
        assert!(reason.starts_with("/proc/sys/kernel/no_such_switch: "), "{reason}");
    }

    #[test]
    fn a_value_out_of_range_is_shown() {
        let reason = read::<u32>("kernel/ostype").expect_err("it is a word");
        assert!(reason.contains("\"Linux\""), "{reason}");
    }
}
