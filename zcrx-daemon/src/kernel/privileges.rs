//! What this process may do.

use std::collections::BTreeSet;

use caps::CapSet;
pub use caps::Capability;

use super::Part;

/// Inode number of the initial user namespace: fixed in every kernel (`PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// How far the kernel is locked down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Not, or the kernel does not know lockdown.
    None,
    /// What would change the running kernel is refused.
    Integrity,
    /// What would read its memory is refused too: kernel probes read nothing.
    Confidentiality,
}

/// What this process may do.
#[derive(Clone, Debug)]
pub struct Privileges {
    /// Effective capabilities.
    pub capabilities: Part<BTreeSet<u8>>,
    /// Capabilities that the process could be given: those beyond are lost to it and its children.
    pub bounding: Part<BTreeSet<u8>>,
    /// Whether the process is in the initial user namespace: elsewhere capabilities count for little.
    pub initial_user_namespace: Part<bool>,
    /// Whether a seccomp filter looks at the system calls of this process.
    pub seccomp_filter: Part<bool>,
    /// Lockdown.
    pub lockdown: Part<Lockdown>,
    /// Soft limit of locked memory in bytes; `u64::MAX` means none.
    pub memlock_bytes: Part<u64>,
}

impl Privileges {
    pub(super) fn read() -> Self {
        let read = |set, name| {
            caps::read(None, set)
                .map(|set| set.iter().map(Capability::index).collect())
                .map_err(|error| format!("{name} capabilities: {error}"))
        };
        Self {
            capabilities: read(CapSet::Effective, "effective"),
            bounding: read(CapSet::Bounding, "bounding"),
            initial_user_namespace: initial_user_namespace(),
            seccomp_filter: seccomp_filter(),
            lockdown: lockdown(),
            memlock_bytes: memlock(),
        }
    }

    /// Which of these capabilities the process lacks. Those that could not be read are taken as there: the
    /// kernel reveals.
    pub fn lacking(&self, wanted: &[Capability]) -> Vec<Capability> {
        let Ok(held) = &self.capabilities else { return Vec::new() };
        wanted.iter().copied().filter(|capability| !held.contains(&capability.index())).collect()
    }

    /// Whether the process can never have a capability; `false` if that could not be read.
    pub fn is_barred(&self, capability: Capability) -> bool {
        self.bounding.as_ref().is_ok_and(|bounding| !bounding.contains(&capability.index()))
    }

    /// Whether the process has a capability; `false` if that could not be read.
    pub fn has(&self, capability: Capability) -> bool {
        self.capabilities.as_ref().is_ok_and(|held| held.contains(&capability.index()))
    }
}

fn initial_user_namespace() -> Part<bool> {
    const LINK: &str = "/proc/self/ns/user";
    let target = std::fs::read_link(LINK).map_err(|error| format!("{LINK}: {error}"))?;
    Ok(target.as_os_str() == INITIAL_USER_NAMESPACE)
}

fn seccomp_filter() -> Part<bool> {
    /// `SECCOMP_MODE_FILTER`.
    const FILTER: u32 = 2;
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    let mode = status.map_err(|error| format!("/proc/self/status: {error}"))?.seccomp;
    mode.map(|mode| mode == FILTER).ok_or_else(|| "/proc/self/status has no line Seccomp".to_owned())
}

fn lockdown() -> Part<Lockdown> {
    const PATH: &str = "/sys/kernel/security/lockdown";
    match std::fs::read_to_string(PATH) {
        Ok(text) => parse_lockdown(&text).ok_or_else(|| format!("{PATH}: \"{}\"", text.trim())),
        // securityfs is there, lockdown is not: the kernel was built without it.
        Err(_) if std::path::Path::new("/sys/kernel/security/lsm").exists() => Ok(Lockdown::None),
        Err(error) => Err(format!("{PATH}: {error}")),
    }
}

/// "none [integrity] confidentiality": the one in brackets holds.
fn parse_lockdown(text: &str) -> Option<Lockdown> {
    let (_, rest) = text.split_once('[')?;
    match rest.split_once(']')?.0 {
        "none" => Some(Lockdown::None),
        "integrity" => Some(Lockdown::Integrity),
        "confidentiality" => Some(Lockdown::Confidentiality),
        _ => None,
    }
}

fn memlock() -> Part<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: getrlimit fills the structure it is given.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
        return Err(format!("RLIMIT_MEMLOCK: {}", std::io::Error::last_os_error()));
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_what_stands_in_brackets() {
        assert_eq!(parse_lockdown("[none] integrity confidentiality\n"), Some(Lockdown::None));
        assert_eq!(parse_lockdown("none [integrity] confidentiality\n"), Some(Lockdown::Integrity));
        assert_eq!(parse_lockdown("none integrity [confidentiality]\n"), Some(Lockdown::Confidentiality));
        assert_eq!(parse_lockdown("none"), None);
        assert_eq!(parse_lockdown(""), None);
    }

    #[test]
    fn what_is_held_is_not_lacking() {
        let held = [Capability::CAP_BPF.index()].into();
        let privileges = Privileges { capabilities: Ok(held), ..Privileges::read() };
        let wanted = [Capability::CAP_BPF, Capability::CAP_PERFMON];
        assert_eq!(privileges.lacking(&wanted), [Capability::CAP_PERFMON]);
        assert!(privileges.has(Capability::CAP_BPF));
    }
}
