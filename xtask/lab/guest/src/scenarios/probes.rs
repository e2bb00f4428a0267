//! What zcrxd can see on this kernel.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use super::Scenario;
use crate::lab::daemon::Daemon;
use crate::lab::namespace::Namespace;
use crate::lab::{facts, output, program};

/// Which probes attach, and how.
pub(super) const ATTACH: Scenario = Scenario {
    name: "probes",
    about: "every probe says how it is attached or why it is not; what is attached exists in this kernel",
    needs: &[],
    limit: 300,
    default: true,
    run: || {
        let probes = probes(&[])?;
        ensure!(!probes.is_empty(), "`zcrxd probes` knows no probe");
        let functions = functions()?;
        for probe in &probes {
            let name = probe["name"].as_str().context("a probe without a name")?;
            let attached = probe["attached"].as_array().map(Vec::as_slice);
            let value = if let Some([mechanism, target]) = attached {
                let (mechanism, target) = (mechanism.as_str().unwrap_or("?"), target.as_str().unwrap_or("?"));
                ensure!(
                    !is_on_function(probe) || functions.contains(target),
                    "{name} is said to be attached to {target}, which this kernel does not have"
                );
                format!("{mechanism} {target}")
            } else {
                let refused = probe["refused"].as_array().map_or(0, Vec::len);
                ensure!(refused > 0, "{name} is not attached, and no reason is given");
                "-".to_owned()
            };
            facts::add(&format!("probe {name}"), &value)?;
        }
        Ok(())
    },
};

/// Each mechanism alone.
pub(super) const MECHANISMS: Scenario = Scenario {
    name: "probes-mechanisms",
    about: "told to use one mechanism on functions, zcrxd uses that one or says why it cannot, and no other",
    needs: &[Need::Guest, Need::Zcrx],
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
pub(super) const COUNTED: Scenario = Scenario {
    name: "registrations-counted",
    about: "failed registrations of another process are counted by errno, each once",
    needs: &[Need::Zcrx],
    limit: 300,
    default: true,
    run: || {
        let host = Namespace::create()?;
        let mut daemon = Daemon::start(&host, &[])?;
        let before = daemon.metrics()?;
        if before.sum("zcrx_registrations_total").is_none() {
            return Err(super::Skip("no probe for registrations can be attached here".to_owned()).into());
        }
        let attempts: [(&[&str], &str); 3] = [
            (&["--interface", "lo"], "EOPNOTSUPP"),
            (&["--interface", "lo"], "EOPNOTSUPP"),
            (&["--interface", "lo", "--without", "CAP_NET_ADMIN"], "EPERM"),
        ];
        for (arguments, errno) in attempts {
            let said = host.command(program("foreign")).arg("register").args(arguments).output();
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
pub(super) const REFUSED: Scenario = Scenario {
    name: "everything-refused",
    about: "without privileges and with io_uring switched off, zcrxd runs, says what it lacks and stops in good order",
    needs: &[Need::Guest],
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
    let mut daemon = Daemon::start_as_nobody(&host, &[])?;
    let metrics = daemon.metrics()?;
    ensure!(
        metrics.of("zcrx_probe_attached").all(|sample| sample.value == 0.0),
        "a probe is said to be attached"
    );
    ensure!(metrics.of("zcrx_probe_attached").next().is_some(), "no probe is said to be missing");
    ensure!(metrics.sum("zcrx_registrations_total").is_none(), "registrations are counted without a probe");
    daemon.process().alive()?;
    let log = daemon.stop()?;
    ensure!(
        log.contains("registration"),
        "the log does not say that the probe is missing (io_uring off: {switched_off})"
    );
    Ok(())
}

/// Names of all functions of this kernel.
fn functions() -> Result<BTreeSet<String>> {
    let symbols = fs::read_to_string("/proc/kallsyms").context("cannot read /proc/kallsyms")?;
    Ok(symbols.lines().filter_map(|line| Some(line.split_whitespace().nth(2)?.to_owned())).collect())
}
