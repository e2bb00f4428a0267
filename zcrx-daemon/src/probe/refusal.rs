//! Why a probe could not be attached, as a message that leads to a remedy.

use std::io;

use aya::{programs::ProgramError, sys::SyscallError};

use crate::{
    kernel::{Capability, Kernel},
    model::{Mechanism, Obstacle},
};

/// The kernel's own errno for "not supported", which user space should never see, yet does.
const ENOTSUPP: i32 = 524;

/// Names missing capabilities.
pub(super) fn lacking(capabilities: &[Capability]) -> String {
    let names: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
    format!("needs CAP_BPF and CAP_PERFMON (or root): this process lacks {}", names.join(" and "))
}

/// Why the kernel makes no map although this process has the capabilities; `None` for errors with other reasons.
pub(super) fn of_bpf(error: &io::Error, kernel: &Kernel) -> Option<String> {
    let privileges = &kernel.privileges;
    let who = match privileges.seccomp_filter {
        Ok(true) => "most likely the seccomp filter of this container or unit",
        Ok(false) => "most likely a security module (LSM)",
        Err(_) => "most likely a seccomp filter or a security module (LSM)",
    };
    match error.raw_os_error()? {
        libc::EPERM | libc::EACCES if privileges.initial_user_namespace == Ok(false) => Some(
            "the system call bpf is refused, since this process is in a user namespace; start zcrxd in the initial one"
                .to_owned(),
        ),
        libc::EPERM | libc::EACCES => Some(format!(
            "the system call bpf is refused although this process has the capabilities: {who} denies it; allow bpf there"
        )),
        libc::ENOSYS => Some(format!(
            "the system call bpf does not exist for this process: {who} hides it, or this kernel was built without \
             CONFIG_BPF_SYSCALL; allow bpf there"
        )),
        _ => None,
    }
}

/// Why eBPF is of no use where the kernel is locked down that far.
pub(super) const CONFIDENTIALITY: &str = "the kernel is locked down (confidentiality), so eBPF may not read its memory; boot \
     with lockdown=integrity, or relax the policy of Secure Boot";

/// What aya's error means for this mechanism on this kernel.
pub(super) fn words(error: &ProgramError, mechanism: Mechanism, kernel: &Kernel) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            load(io_error, &verifier_log.to_string(), mechanism, kernel)
        }
        ProgramError::KProbeError(_) => no_kprobes(kernel),
        ProgramError::SyscallError(SyscallError { call, io_error }) => {
            syscall(call, io_error, mechanism, kernel)
        }
        other => other.to_string(),
    }
}

/// What kind of obstacle it is that a program was not loaded. EPERM stands for missing privileges and for mechanisms
/// that a host has switched off; any other errno comes from the verifier.
pub(super) fn obstacle_to_load(error: &io::Error) -> Obstacle {
    if error.raw_os_error() == Some(libc::EPERM) { Obstacle::Refused } else { Obstacle::Failed }
}

/// Why a program was not loaded.
pub(super) fn load(error: &io::Error, log: &str, mechanism: Mechanism, kernel: &Kernel) -> String {
    tracing::debug!("the verifier said:\n{log}");
    let said = last_words(log);
    match (error.raw_os_error(), said) {
        (Some(libc::EPERM), None) if !kernel.privileges.has(Capability::CAP_SYS_ADMIN) => {
            let missing = kernel.privileges.lacking(&[Capability::CAP_BPF, Capability::CAP_PERFMON]);
            if missing.is_empty() {
                "the kernel refuses the program (EPERM, without a message)".to_owned()
            } else {
                lacking(&missing)
            }
        }
        (Some(libc::EPERM), None) if mechanism == Mechanism::Fexit => {
            "this kernel refuses BPF trampolines (EPERM, without a message of the verifier)".to_owned()
        }
        (Some(libc::EPERM), None) => "the kernel refuses the program (EPERM, without a message)".to_owned(),
        (_, Some(said)) => format!("the verifier refuses the program ({error}): {said}"),
        (_, None) => format!("the kernel refuses the program: {error}"),
    }
}

/// What the verifier found: its last line but for the statistics that it ends with.
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "stack depth ", "verification time "];
    let is_statistic = |line: &str| STATISTICS.iter().any(|start| line.starts_with(start));
    log.lines().map(str::trim).rfind(|line| !line.is_empty() && !is_statistic(line))
}

fn syscall(call: &str, error: &io::Error, mechanism: Mechanism, kernel: &Kernel) -> String {
    match (call, error.raw_os_error()) {
        ("perf_event_open", Some(libc::EACCES | libc::EPERM)) => {
            let paranoid = kernel.sysctls.perf_event_paranoid.as_ref();
            let paranoid = paranoid.map_or_else(ToString::to_string, ToString::to_string);
            format!(
                "perf_event_open is refused: needs CAP_SYS_ADMIN, or kernel.perf_event_paranoid below 3 (it is {paranoid})"
            )
        }
        ("perf_event_open", Some(libc::ENOENT | libc::EINVAL | libc::EADDRNOTAVAIL))
            if mechanism == Mechanism::Kretprobe =>
        {
            format!("the kernel cannot put a breakpoint there: {error}")
        }
        ("bpf_raw_tracepoint_open", Some(libc::ENOENT)) => "this kernel has no such tracepoint".to_owned(),
        ("bpf_raw_tracepoint_open", Some(ENOTSUPP)) => {
            "this kernel cannot attach there (ENOTSUPP: no trampolines on this architecture)".to_owned()
        }
        _ => format!("{call}: {error}"),
    }
}

/// Why a program was loaded and not attached as kprobe_multi.
pub(super) fn kprobe_multi(error: &io::Error, kernel: &Kernel) -> String {
    let lacks = |option| kernel.config.as_ref().is_ok_and(|config| !config.is_on(option));
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) if lacks("CONFIG_FPROBE") => {
            "this kernel has no kprobe_multi: it was built without CONFIG_FPROBE".to_owned()
        }
        Some(libc::EOPNOTSUPP) => "this kernel has no kprobe_multi".to_owned(),
        Some(libc::EINVAL) => "kprobe_multi is refused (EINVAL): Linux 5.18 has it first".to_owned(),
        Some(libc::ESRCH | libc::ENOENT) => format!("ftrace cannot reach the function: {error}"),
        _ => format!("BPF_LINK_CREATE: {error}"),
    }
}

fn no_kprobes(kernel: &Kernel) -> String {
    let why = match &kernel.config {
        Ok(config) if !config.is_on("CONFIG_KPROBES") => "it was built without CONFIG_KPROBES",
        Ok(config) if !config.is_on("CONFIG_KPROBE_EVENTS") => "it was built without CONFIG_KPROBE_EVENTS",
        _ => "there is no /sys/bus/event_source/devices/kprobe",
    };
    format!("this kernel has no kprobes: {why}")
}
