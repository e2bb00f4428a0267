//! What this process may do, and what the kernel lets anybody do.

use super::{Finding, Group, Verdict};
use crate::kernel::{Capability, Kernel, Lockdown, Part, Privileges};

/// Default size of an area, bytes: what must fit under the limit for locked memory.
const AREA_BYTES: u64 = crate::receive::DEFAULT_AREA_BYTES;

/// What capabilities are for.
struct Purpose {
    name: &'static str,
    what: &'static str,
    /// All of these, or CAP_SYS_ADMIN where `or_admin` says so.
    capabilities: &'static [Capability],
    or_admin: bool,
    without: Verdict,
}

const PURPOSES: [Purpose; 4] = [
    Purpose {
        name: "attach_probes",
        what: "attach probes and see the queues of other programs",
        capabilities: &[Capability::CAP_BPF, Capability::CAP_PERFMON],
        or_admin: true,
        without: Verdict::Fail,
    },
    Purpose {
        name: "register_queues",
        what: "register zcrx queues and set interfaces up for them",
        capabilities: &[Capability::CAP_NET_ADMIN],
        or_admin: false,
        without: Verdict::Warn,
    },
    Purpose {
        name: "read_addresses",
        what: "find exported queues that outlived their ring, by the address of their operations",
        capabilities: &[Capability::CAP_SYSLOG],
        or_admin: true,
        without: Verdict::Warn,
    },
    Purpose {
        name: "enter_namespaces",
        what: "ask the interfaces of other network namespaces, where containers have theirs",
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

/// Whether this process lacks what attaching probes needs.
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
            "run as root, or grant it (AmbientCapabilities={} in a unit)",
            names(&missing).replace(" and ", " ")
        )
    } else {
        format!(
            "{} is not even in the bounding set: whoever starts this container or unit must leave it in",
            names(&barred)
        )
    };
    finding(purpose.name, purpose.without, format!("may not {}: lacks {}", purpose.what, names(&missing)))
        .remedy(remedy)
}

fn user_namespace(initial: &Part<bool>) -> Finding {
    match initial {
        Ok(true) => finding("user_namespace", Verdict::Pass, "the initial one, where capabilities count"),
        Ok(false) => finding(
            "user_namespace",
            Verdict::Warn,
            "one of its own: the capabilities above do not count for zcrx and eBPF, whatever they say",
        )
        .remedy("start it in the initial user namespace (no --userns-remap, no PrivateUsers=)"),
        Err(reason) => finding("user_namespace", Verdict::Skip, reason),
    }
}

fn lockdown(lockdown: &Part<Lockdown>) -> Finding {
    match lockdown {
        Ok(Lockdown::None) => finding("lockdown", Verdict::Pass, "none"),
        Ok(Lockdown::Integrity) => finding("lockdown", Verdict::Pass, "integrity: reading is still allowed"),
        Ok(Lockdown::Confidentiality) => finding(
            "lockdown",
            Verdict::Fail,
            "confidentiality: eBPF programs read nothing of the kernel's memory",
        )
        .remedy("boot with lockdown=integrity, or without Secure Boot's stricter policy"),
        Err(reason) => {
            finding("lockdown", Verdict::Skip, format!("not to be seen, so probably none ({reason})"))
        }
    }
}

fn paranoid(kernel: &Kernel) -> Finding {
    const NAME: &str = "perf_event_paranoid";
    match &kernel.sysctls.perf_event_paranoid {
        Err(reason) => finding(NAME, Verdict::Skip, reason),
        Ok(value) if *value < 3 || kernel.privileges.has(Capability::CAP_SYS_ADMIN) => {
            finding(NAME, Verdict::Pass, format!("{value}: kprobes are open to this process"))
        }
        Ok(value) => finding(NAME, Verdict::Warn, format!("{value}: kprobes ask for CAP_SYS_ADMIN"))
            .remedy("only where trampolines are missing: `sysctl kernel.perf_event_paranoid=2`"),
    }
}

fn addresses(kernel: &Kernel) -> Finding {
    const NAME: &str = "kptr_restrict";
    match &kernel.sysctls.kptr_restrict {
        Err(reason) => finding(NAME, Verdict::Skip, reason),
        Ok(value) if *value < 2 => {
            finding(NAME, Verdict::Pass, format!("{value}: addresses are shown to who may see them"))
        }
        Ok(value) => finding(
            NAME,
            Verdict::Warn,
            format!("{value}: addresses are shown to nobody, and exported queues that outlived their ring not found"),
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
        Ok(limit) if limit >= AREA_BYTES => {
            finding(NAME, Verdict::Pass, format!("{} may be locked", bytesize::ByteSize(limit)))
        }
        Ok(limit) => finding(
            NAME,
            Verdict::Warn,
            format!(
                "{} may be locked: an area of the default size ({}) does not fit",
                bytesize::ByteSize(limit),
                bytesize::ByteSize(AREA_BYTES)
            ),
        )
        .remedy("raise it (`ulimit -l`, LimitMEMLOCK=), grant CAP_IPC_LOCK, or make the area smaller"),
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
    fn root_may_everything() {
        let all = [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_IPC_LOCK];
        let kernel = privileges(&all, &all);
        let findings = judge(&kernel);
        assert!(findings.iter().all(|finding| finding.verdict == Verdict::Pass), "{findings:#?}");
        assert!(!lacks_probes(&kernel.privileges));
    }

    #[test]
    fn what_lacks_is_named_with_how_to_get_it() {
        let kernel = privileges(&[Capability::CAP_BPF], &[Capability::CAP_PERFMON, Capability::CAP_SYSLOG]);
        let findings = judge(&kernel);
        let (verdict, found, remedy) = of(&findings, "attach_probes");
        assert_eq!(verdict, Verdict::Fail);
        assert!(found.ends_with("lacks CAP_PERFMON"), "{found}");
        assert!(remedy.contains("AmbientCapabilities=CAP_PERFMON"), "{remedy}");
        let (verdict, _, remedy) = of(&findings, "register_queues");
        assert_eq!(verdict, Verdict::Warn);
        assert!(remedy.starts_with("CAP_NET_ADMIN is not even in the bounding set"), "{remedy}");
        assert_eq!(of(&findings, "perf_event_paranoid").0, Verdict::Warn);
        assert_eq!(of(&findings, "memlock").0, Verdict::Warn);
        assert!(lacks_probes(&kernel.privileges));
    }
}
