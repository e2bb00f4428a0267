//! Privileges of this process, and restrictions that hold for every process.

use super::{Finding, Group, Verdict};
use crate::kernel::{Capability, Kernel, Lockdown, Part, Privileges};
use crate::receive::default_area_bytes;

/// A purpose that needs capabilities.
struct Purpose {
    name: &'static str,
    what: &'static str,
    /// Needed together; CAP_SYS_ADMIN replaces them where `or_admin` is set.
    capabilities: &'static [Capability],
    or_admin: bool,
    without: Verdict,
}

const PURPOSES: [Purpose; 4] = [
    Purpose {
        name: "attach_probes",
        what: "attach probes and read the queues of other programs",
        capabilities: &[Capability::CAP_BPF, Capability::CAP_PERFMON],
        or_admin: true,
        without: Verdict::Fail,
    },
    Purpose {
        name: "register_queues",
        what: "register zcrx queues and prepare interfaces",
        capabilities: &[Capability::CAP_NET_ADMIN],
        or_admin: false,
        without: Verdict::Warn,
    },
    Purpose {
        name: "read_addresses",
        what: "find exported queues that outlived their ring, by the address of their file operations",
        capabilities: &[Capability::CAP_SYSLOG],
        or_admin: true,
        without: Verdict::Warn,
    },
    Purpose {
        name: "enter_namespaces",
        what: "read interfaces of other network namespaces (containers)",
        capabilities: &[Capability::CAP_SYS_ADMIN],
        or_admin: true,
        without: Verdict::Warn,
    },
];

pub(super) fn judge(kernel: &Kernel) -> Vec<Finding> {
    let privileges = &kernel.privileges;
    let mut findings: Vec<_> = PURPOSES.iter().map(|purpose| capability(purpose, privileges)).collect();
    findings.push(user_namespace(&privileges.initial_user_namespace));
    findings.push(lockdown(&privileges.lockdown));
    findings.push(paranoid(kernel));
    findings.push(addresses(kernel));
    findings.push(memlock(privileges));
    findings
}

fn finding(name: &str, verdict: Verdict, found: impl Into<String>) -> Finding {
    Finding::new(Group::Privileges, name, verdict, found)
}

/// Whether this process lacks capabilities for attaching probes.
pub(super) fn lacks_probes(privileges: &Privileges) -> bool {
    !missing(&PURPOSES[0], privileges).is_empty()
}

fn missing(purpose: &Purpose, privileges: &Privileges) -> Vec<Capability> {
    if purpose.or_admin && privileges.has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    privileges.lacking(purpose.capabilities)
}

fn capability(purpose: &Purpose, privileges: &Privileges) -> Finding {
    if let Err(reason) = &privileges.capabilities {
        return finding(purpose.name, Verdict::Skip, reason);
    }
    let missing = missing(purpose, privileges);
    if missing.is_empty() {
        return finding(purpose.name, Verdict::Pass, format!("may {}", purpose.what));
    }
    let names = |list: &[Capability]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let barred: Vec<_> = missing.iter().copied().filter(|one| privileges.is_barred(*one)).collect();
    let remedy = if barred.is_empty() {
        format!(
            "run as root, or grant the capability (in a unit: AmbientCapabilities={})",
            names(&missing).replace(" and ", " ")
        )
    } else {
        format!(
            "{} is not in the bounding set: add it where this container or unit is started (CapabilityBoundingSet=, --cap-add)",
            names(&barred)
        )
    };
    finding(purpose.name, purpose.without, format!("may not {}: lacks {}", purpose.what, names(&missing)))
        .remedy(remedy)
}

fn user_namespace(initial: &Part<bool>) -> Finding {
    match initial {
        Ok(true) => finding("user_namespace", Verdict::Pass, "initial user namespace"),
        Ok(false) => finding(
            "user_namespace",
            Verdict::Warn,
            "not the initial user namespace: the kernel ignores the capabilities above for zcrx and eBPF",
        )
        .remedy("start zcrxd in the initial user namespace (without --userns-remap or PrivateUsers=)"),
        Err(reason) => finding("user_namespace", Verdict::Skip, reason),
    }
}

fn lockdown(lockdown: &Part<Lockdown>) -> Finding {
    match lockdown {
        Ok(Lockdown::None) => finding("lockdown", Verdict::Pass, "none"),
        Ok(Lockdown::Integrity) => {
            finding("lockdown", Verdict::Pass, "integrity: eBPF may read kernel memory")
        }
        Ok(Lockdown::Confidentiality) => finding(
            "lockdown",
            Verdict::Fail,
            "confidentiality: the kernel forbids eBPF programs to read its memory",
        )
        .remedy("boot with lockdown=integrity, or relax the policy of Secure Boot"),
        Err(reason) => finding("lockdown", Verdict::Skip, format!("unknown, probably none ({reason})")),
    }
}

fn paranoid(kernel: &Kernel) -> Finding {
    const NAME: &str = "perf_event_paranoid";
    match &kernel.sysctls.perf_event_paranoid {
        Err(reason) => finding(NAME, Verdict::Skip, reason),
        Ok(value) if *value < 3 || kernel.privileges.has(Capability::CAP_SYS_ADMIN) => {
            finding(NAME, Verdict::Pass, format!("{value}: this process may use kprobes"))
        }
        Ok(value) => finding(NAME, Verdict::Warn, format!("{value}: kprobes need CAP_SYS_ADMIN"))
            .remedy("needed only on kernels without trampolines: `sysctl kernel.perf_event_paranoid=2`"),
    }
}

fn addresses(kernel: &Kernel) -> Finding {
    const NAME: &str = "kptr_restrict";
    match &kernel.sysctls.kptr_restrict {
        Err(reason) => finding(NAME, Verdict::Skip, reason),
        Ok(value) if *value < 2 => {
            finding(NAME, Verdict::Pass, format!("{value}: processes with CAP_SYSLOG see kernel addresses"))
        }
        Ok(value) => finding(
            NAME,
            Verdict::Warn,
            format!("{value}: kernel addresses are hidden; zcrxd cannot find exported queues that outlived their ring"),
        )
        .remedy("`sysctl kernel.kptr_restrict=1`"),
    }
}

fn memlock(privileges: &Privileges) -> Finding {
    const NAME: &str = "memlock";
    if privileges.has(Capability::CAP_IPC_LOCK) {
        return finding(NAME, Verdict::Pass, "no limit for this process (CAP_IPC_LOCK)");
    }
    match privileges.memlock_bytes {
        Err(ref reason) => finding(NAME, Verdict::Skip, reason),
        Ok(u64::MAX) => finding(NAME, Verdict::Pass, "no limit"),
        Ok(limit) if limit >= default_area_bytes() => {
            finding(NAME, Verdict::Pass, format!("limit of locked memory: {}", bytesize::ByteSize(limit)))
        }
        Ok(limit) => finding(
            NAME,
            Verdict::Warn,
            format!(
                "limit of locked memory: {}; an area of the default size ({}) does not fit",
                bytesize::ByteSize(limit),
                bytesize::ByteSize(default_area_bytes())
            ),
        )
        .remedy(
            "raise the limit (`ulimit -l`, LimitMEMLOCK=), grant CAP_IPC_LOCK, or configure a smaller area",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn privileges(held: &[Capability], bounding: &[Capability]) -> Kernel {
        let indexes = |list: &[Capability]| list.iter().map(Capability::index).collect();
        let mut kernel = Kernel::inspect();
        kernel.privileges = Privileges {
            capabilities: Ok(indexes(held)),
            bounding: Ok(indexes(bounding)),
            initial_user_namespace: Ok(true),
            seccomp_filter: Ok(false),
            lockdown: Ok(Lockdown::None),
            memlock_bytes: Ok(8 << 20),
        };
        kernel.sysctls.perf_event_paranoid = Ok(3);
        kernel.sysctls.kptr_restrict = Ok(1);
        kernel
    }

    fn of(findings: &[Finding], name: &str) -> (Verdict, String, String) {
        let found = findings.iter().find(|finding| finding.name == name).expect(name);
        (found.verdict, found.found.clone(), found.remedy.clone().unwrap_or_default())
    }

    #[test]
    fn root_passes_every_check() {
        let all = [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_IPC_LOCK];
        let kernel = privileges(&all, &all);
        let findings = judge(&kernel);
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Pass), "{findings:#?}");
        assert!(!lacks_probes(&kernel.privileges));
    }

    #[test]
    fn missing_capability_is_named_with_its_remedy() {
        let kernel = privileges(&[Capability::CAP_BPF], &[Capability::CAP_PERFMON, Capability::CAP_SYSLOG]);
        let findings = judge(&kernel);
        let (verdict, found, remedy) = of(&findings, "attach_probes");
        assert_eq!(verdict, Verdict::Fail);
        assert!(found.ends_with("lacks CAP_PERFMON"), "{found}");
        assert!(remedy.contains("AmbientCapabilities=CAP_PERFMON"), "{remedy}");
        let (verdict, _, remedy) = of(&findings, "register_queues");
        assert_eq!(verdict, Verdict::Warn);
        assert!(remedy.starts_with("CAP_NET_ADMIN is not in the bounding set"), "{remedy}");
        assert_eq!(of(&findings, "perf_event_paranoid").0, Verdict::Warn);
        assert_eq!(of(&findings, "memlock").0, Verdict::Warn);
        assert!(lacks_probes(&kernel.privileges));
    }
}
