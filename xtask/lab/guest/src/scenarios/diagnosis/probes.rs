//! What zcrxd can see on this kernel.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::btf::Btf;
use crate::harness::daemon::Daemon;
use crate::harness::kprobe::Kprobe;
use crate::harness::namespace::Namespace;
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::symbols::Symbols;
use crate::harness::{facts, output, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[ATTACH, MECHANISMS, COUNTED, REFUSED];

/// Which probes attach, and how.
const ATTACH: Scenario = Scenario {
    name: "probes",
    about: "every probe says how it is attached or why it is not; what is attached exists in this kernel, what is said to \
            be absent does not",
    needs: &[],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        not_asked_for()?;
        let probes = probes(&["--probe-residence", "64"])?;
        ensure!(!probes.is_empty(), "`zcrxd probes` knows no probe");
        ensure!(probes.iter().all(|probe| probe["asked"] == true), "all were asked for");
        let kernel = Offered { symbols: Symbols::read()?, btf: Btf::of_kernel()? };
        let mut names = BTreeSet::new();
        for probe in &probes {
            let name = probe["name"].as_str().context("a probe without a name")?;
            ensure!(names.insert(name), "there are two probes {name}");
            let refused = probe["refused"].as_array().map_or(&[][..], Vec::as_slice);
            let value = if let Some([mechanism, target]) = probe["attached"].as_array().map(Vec::as_slice) {
                let (mechanism, target) = (word(mechanism)?, word(target)?);
                for part in target.split(", ") {
                    ensure!(
                        kernel.offers(mechanism, part)?,
                        "{name} is said to be attached to {part} by {mechanism}, which this kernel does not have"
                    );
                }
                format!("{mechanism} {target}")
            } else {
                ensure!(!refused.is_empty(), "{name} is not attached, and no reason is given");
                "-".to_owned()
            };
            for attempt in refused {
                kernel.check_refusal(attempt).with_context(|| format!("of {name} it is said"))?;
            }
            facts::add(&format!("probe {name}"), &value)?;
        }
        Ok(())
    },
};

/// Probes that cost receivers CPU time are attached only if they are configured.
fn not_asked_for() -> Result<()> {
    let probes = probes(&[])?;
    let unasked: Vec<_> = probes.iter().filter(|probe| probe["asked"] == false).collect();
    ensure!(unasked.len() == 1 && unasked[0]["name"] == "residence", "not configured: {unasked:?}");
    ensure!(unasked[0]["attached"].is_null(), "attached although it is not configured");
    for attempt in unasked[0]["refused"].as_array().context("no reason is given")? {
        ensure!(word(&attempt["error"])?.contains("not asked for"), "another reason: {attempt}");
    }
    Ok(())
}

/// What this kernel can be asked to probe, by its own account and not by zcrxd's.
struct Offered {
    symbols: Symbols,
    btf: Option<Btf>,
}

impl Offered {
    /// Whether a program can go there by that mechanism, according to the kernel's tables.
    fn offers(&self, mechanism: &str, target: &str) -> Result<bool> {
        let typed = |test: &dyn Fn(&Btf) -> bool| self.btf.as_ref().is_some_and(test);
        // A function, which every table of symbols has; of data, such as `__tracepoint_*`, some kernels list none.
        let tracepoint = || self.symbols.has(&format!("__traceiter_{target}"));
        Ok(match mechanism {
            "fexit" => self.symbols.has(target) && typed(&|btf| btf.has_function(target)),
            "kprobe" | "kretprobe" | "kprobe_multi" => self.symbols.has(target),
            "tp_btf" => tracepoint() && typed(&|btf| btf.has_type(&format!("btf_trace_{target}"))),
            "raw_tracepoint" | "tracepoint" => tracepoint(),
            "iterator" => {
                let function = format!("bpf_iter_{target}");
                self.symbols.has(&function) && typed(&|btf| btf.has_function(&function))
            }
            other => bail!("this scenario does not know how to check the mechanism {other}"),
        })
    }

    /// Holds what is said of a refused alternative against what the kernel has.
    fn check_refusal(&self, attempt: &Value) -> Result<()> {
        let (mechanism, target) = (word(&attempt["mechanism"])?, word(&attempt["target"])?);
        let reason = word(&attempt["error"])?;
        ensure!(!reason.is_empty(), "{mechanism} {target} is refused without a reason");
        let on_function = matches!(mechanism, "fexit" | "kprobe" | "kretprobe" | "kprobe_multi");
        for name in target.split(" or ").filter(|_| on_function) {
            let said_absent = reason.contains(&format!("no {name} "));
            let there = match mechanism {
                // What cannot be seen cannot be said to be there.
                "fexit" => self.offers(mechanism, name)?,
                _ => self.symbols.has_variant(name),
            };
            ensure!(!(said_absent && there), "{mechanism}: {reason}; yet this kernel has {name}");
            // A breakpoint that the kernel sets for others it would set for us.
            if there && mechanism == "kretprobe" && may_probe() {
                ensure!(
                    Kprobe::count(name).is_none(),
                    "{mechanism} {name} is refused ({reason}); yet the kernel lets it be probed through tracefs"
                );
            }
        }
        if reason.contains("types have nothing for") {
            let has = self.btf.as_ref().is_some_and(|btf| btf.has_type("io_zcrx_ifq"));
            ensure!(!has, "{mechanism} {target}: {reason}; yet this kernel has zcrx");
        }
        Ok(())
    }
}

/// Whether zcrxd, which runs as this user, is allowed what tracefs allows.
fn may_probe() -> bool {
    // SAFETY: geteuid takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

fn word(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// Each mechanism alone.
const MECHANISMS: Scenario = Scenario {
    name: "probes-mechanisms",
    about: "configured to use one mechanism on functions, zcrxd uses that one or reports why it cannot, and no other",
    needs: &[Need::Guest, Need::Zcrx],
    proves: &[],
    limit: 600,
    default: false,
    run: || {
        for (flag, mechanism) in
            [("fexit", "fexit"), ("kprobe-multi", "kprobe_multi"), ("kretprobe", "kretprobe")]
        {
            let probes = probes(&["--probe-mechanism", flag])?;
            for probe in probes.iter().filter(|probe| is_on_function(probe)) {
                // Debian's kernels have all three; what is on a function here goes there by the one asked for.
                let by = probe["attached"][0].as_str().context("attached, and by nothing")?;
                ensure!(by == mechanism, "asked for {flag}, {} is attached by {by}", probe["name"]);
            }
            let by =
                |name| probes.iter().find(|probe| probe["name"] == name).map(|probe| &probe["attached"][0]);
            for name in ["allocation", "registration"] {
                ensure!(
                    by(name).is_some_and(|by| by == mechanism),
                    "asked for {flag}, {name}: {:?}",
                    by(name)
                );
            }
        }
        Ok(())
    },
};

/// What `zcrxd probes` says.
fn probes(arguments: &[&str]) -> Result<Vec<Value>> {
    let text = output(Command::new(program("zcrxd")).args(["probes", "--format", "json"]).args(arguments))?;
    serde_json::from_str(&text).context("`zcrxd probes` printed no list")
}

/// Whether a probe is attached to a function of the kernel.
fn is_on_function(probe: &Value) -> bool {
    let mechanism = probe["attached"][0].as_str();
    mechanism.is_some_and(|mechanism| ["fexit", "kprobe_multi", "kretprobe"].contains(&mechanism))
}

/// The registrations that zcrxd counts are those that were made.
const COUNTED: Scenario = Scenario {
    name: "registrations-counted",
    about: "failed registrations of another process are counted by errno, each once",
    needs: &[Need::Zcrx],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let host = Namespace::create()?;
        let mut daemon = Daemon::start(&host, &[])?;
        let before = daemon.metrics()?;
        if before.sum("zcrx_registrations_total").is_none() {
            return Err(Skip("no probe for registrations can be attached here".to_owned()).into());
        }
        let attempts: [(&[&str], &str); 3] = [
            (&["--interface", "lo"], "EOPNOTSUPP"),
            (&["--interface", "lo"], "EOPNOTSUPP"),
            (&["--interface", "lo", "--without", "CAP_NET_ADMIN"], "EPERM"),
        ];
        for (arguments, errno) in attempts {
            let said = host.command(program("faulty-app")).arg("register").args(arguments).output();
            let said = said.context("cannot run the foreign program")?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            ensure!(said.contains(errno), "refused with another errno than {errno}: {said}");
        }
        let metrics = daemon.until("all are counted", Duration::from_secs(20), |metrics| {
            metrics.sum("zcrx_registrations_total") >= before.sum("zcrx_registrations_total").map(|n| n + 3.0)
        })?;
        for (errno, expected) in [("EOPNOTSUPP", 2), ("EPERM", 1)] {
            let counted: f64 = metrics
                .of("zcrx_registration_failures_total")
                .filter(|sample| sample.labels.get("errno").is_some_and(|label| label == errno))
                .map(|sample| sample.value)
                .sum();
            ensure!(
                counted as u64 == expected,
                "{counted} failures with {errno} are counted, and {expected} were made"
            );
        }
        daemon.stop().map(drop)
    },
};

/// Nothing is allowed.
const REFUSED: Scenario = Scenario {
    name: "everything-refused",
    about: "without privileges and with io_uring switched off, zcrxd runs, says what it lacks and stops in good order",
    needs: &[Need::Guest],
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        // Older kernels do not know the switch; there the missing privileges must do.
        let switched_off = fs::write("/proc/sys/kernel/io_uring_disabled", "2").is_ok();
        let result = without_privileges(switched_off);
        if switched_off {
            fs::write("/proc/sys/kernel/io_uring_disabled", "0")
                .context("cannot switch io_uring on again")?;
        }
        result
    },
};

fn without_privileges(switched_off: bool) -> Result<()> {
    let host = Namespace::create()?;
    let mut probes = Command::new(program("zcrxd"));
    probes.args(["probes", "--format", "json"]).uid(65534).gid(65534);
    let probes: Vec<Value> =
        serde_json::from_str(&output(&mut probes)?).context("`zcrxd probes` printed no list")?;
    let attached = probes.iter().filter(|probe| !probe["attached"].is_null()).count();
    ensure!(attached == 0, "{attached} probes are said to be attached without privileges");
    ensure!(
        probes.iter().all(|probe| probe["refused"].as_array().is_some_and(|list| !list.is_empty())),
        "no reason"
    );
    let mut daemon = Daemon::start_unprivileged(&host, &[])?;
    let metrics = daemon.metrics()?;
    ensure!(
        metrics.of("zcrxd_probe_info").all(|sample| !sample.has("state", "attached")),
        "a probe is said to be attached"
    );
    ensure!(metrics.of("zcrxd_probe_info").next().is_some(), "no probe is said to be missing");
    ensure!(metrics.sum("zcrx_registrations_total").is_none(), "registrations are counted without a probe");
    daemon.process().alive()?;
    let log = daemon.stop()?;
    ensure!(
        log.contains("no probe is attached"),
        "the log does not say that the probes are missing (io_uring off: {switched_off})"
    );
    Ok(())
}
