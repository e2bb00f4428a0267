//! The package: installed, with the privileges that it states, upgraded, and purged.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::Step;
use super::stages::{
    CONFIGURATION, GOOD, LIMIT, allow_slow_starts, configure, metrics, property, ready, send, systemctl,
    while_connecting,
};
use crate::harness::{eventually, facts, output};

/// Exposure that `systemd-analyze security` may report at most.
const EXPOSURE: f64 = 2.0;

/// The package, and the same with a lower version and another default configuration.
const PACKAGE: &str = "/lab/zcrxd.deb";
const PREVIOUS: &str = "/lab/zcrxd-previous.deb";

/// Where zcrxd keeps recordings and the state of interfaces.
const STATE: &str = "/var/lib/zcrxd";

/// Files that users look for in the package.
const FILES: [&str; 8] = [
    "/usr/share/man/man1/zcrxd.1.gz",
    "/usr/share/man/man1/zcrxd-run.1.gz",
    "/usr/share/man/man5/zcrxd.toml.5.gz",
    "/usr/share/doc/zcrxd/causes.md",
    "/usr/share/bash-completion/completions/zcrxd",
    "/usr/share/zcrxd/prometheus/alerts.yml",
    "/usr/share/zcrxd/dashboards/fleet.json",
    "/usr/share/zcrxd/drop-ins/kprobes.conf",
];

pub(super) const INSTALLED: Step = Step {
    name: "package-installed",
    about: "apt installs the package of the version before, and the service is up, ready and enabled, as a user of its own",
    limit: 300,
    run: || {
        allow_slow_starts()?;
        install(PREVIOUS)?;
        ready()?;
        for (name, value) in [("ActiveState", "active"), ("UnitFileState", "enabled"), ("Type", "notify")] {
            let found = property(name)?;
            ensure!(found == value, "{name} is {found}, not {value}");
        }
        let status = status()?;
        let user = output(Command::new("id").args(["--user", "zcrxd"]))?;
        let uid = field(&status, "Uid").split_whitespace().next().unwrap_or_default();
        ensure!(uid == user.trim() && uid != "0", "zcrxd runs as {uid}, its user is {user}");
        for file in FILES {
            ensure!(Path::new(file).exists(), "{file} is not installed");
        }
        Ok(())
    },
};

pub(super) const LEAST_PRIVILEGE: Step = Step {
    name: "least-privilege",
    about: "probes are attached with the unit's capabilities, which zcrxd drops afterwards, and systemd rates the exposure as low",
    limit: 120,
    run: || {
        let metrics = metrics()?;
        let attached: Vec<_> =
            metrics.of("zcrxd_probe_info").filter(|sample| sample.has("state", "attached")).collect();
        for probe in ["snapshot", "registration"] {
            ensure!(
                attached.iter().any(|sample| sample.label("probe").contains(probe)),
                "probe {probe} is not attached: {attached:?}"
            );
        }
        facts::add("probes attached as a service", &attached.len().to_string())?;
        let status = status()?;
        ensure!(field(&status, "NoNewPrivs") == "1", "it may gain privileges: {status}");
        let capabilities = field(&status, "CapEff");
        ensure!(capabilities.trim_start_matches('0').is_empty(), "its main thread keeps {capabilities}");
        let said = output(Command::new("systemd-analyze").args(["security", "--no-pager", "zcrxd.service"]))?;
        fs::write(crate::harness::artefacts().join("security.txt"), &said)
            .context("cannot keep the verdict")?;
        let verdict = said.lines().last().unwrap_or_default();
        let words = verdict.rsplit_once(": ").map(|(_, words)| words).unwrap_or_default();
        let exposure = words.split(' ').next().and_then(|number| number.parse::<f64>().ok());
        let exposure = exposure.with_context(|| format!("systemd-analyze says {verdict:?}"))?;
        facts::add("exposure of the service", &exposure.to_string())?;
        ensure!(exposure < EXPOSURE, "{verdict}");
        Ok(())
    },
};

pub(super) const UPGRADED: Step = Step {
    name: "package-upgraded",
    about: "an upgrade keeps the changed configuration, beside the new default, and the recordings; the service runs the new \
            program, and no connection is refused meanwhile",
    limit: 300,
    run: || {
        configure(GOOD)?;
        systemctl(&["restart", "zcrxd.service"])?;
        ready()?;
        let (pid, before) = (property("MainPID")?, version()?);
        let recordings = files(Path::new(STATE))?;
        ensure!(!recordings.is_empty(), "{STATE} has no recording of the alert before");
        while_connecting(|| install(PACKAGE))?;
        ready()?;
        let after = version()?;
        ensure!(before != after, "the version is still {after}");
        let now = property("MainPID")?;
        ensure!(now != pid, "the service was not restarted");
        let program = fs::read_link(format!("/proc/{now}/exe")).context("cannot read which program runs")?;
        ensure!(program == Path::new("/usr/bin/zcrxd"), "{} runs", program.display());
        for (name, value) in [("ActiveState", "active"), ("UnitFileState", "enabled")] {
            let found = property(name)?;
            ensure!(found == value, "{name} is {found}, not {value}");
        }
        let kept = fs::read_to_string(CONFIGURATION).context("the configuration is gone")?;
        ensure!(kept == GOOD, "the upgrade changed the configuration: {kept}");
        let offered = format!("{CONFIGURATION}.dpkg-dist");
        ensure!(Path::new(&offered).exists(), "the new default is not at {offered}");
        let left = files(Path::new(STATE))?;
        for (path, bytes) in &recordings {
            ensure!(left.get(path) == Some(bytes), "{} is changed or gone", path.display());
        }
        facts::add(
            "upgrade",
            &format!("from {before} to {after}, {} files of state kept", recordings.len()),
        )?;
        send()
    },
};

/// Installs a package as unattended upgrades do: a configuration that was changed stays.
fn install(package: &str) -> Result<()> {
    let options = ["--option=Dpkg::Options::=--force-confdef", "--option=Dpkg::Options::=--force-confold"];
    output(Command::new("apt-get").args(["install", "--yes"]).args(options).arg(package)).map(drop)
}

/// The installed version.
fn version() -> Result<String> {
    output(Command::new("dpkg-query").args(["--show", "--showformat=${Version}", "zcrxd"]))
}

/// Every file below a folder, with its bytes.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(path, bytes);
            }
        }
    }
    Ok(files)
}

pub(super) const PURGED: Step = Step {
    name: "package-purged",
    about: "removing and purging the package ends the service and leaves no file, process or program in the kernel",
    limit: 120,
    run: || {
        let pid = property("MainPID")?;
        output(Command::new("apt-get").args(["remove", "--yes", "zcrxd"]))?;
        eventually("zcrxd is gone", LIMIT, || Ok((!Path::new("/proc").join(&pid).exists()).then_some(())))?;
        ensure!(Path::new("/etc/zcrxd/zcrxd.toml").exists(), "removing took the configuration away");
        output(Command::new("apt-get").args(["purge", "--yes", "zcrxd"]))?;
        systemctl(&["daemon-reload"])?;
        for gone in
            ["/usr/bin/zcrxd", "/etc/zcrxd/zcrxd.toml", "/var/lib/zcrxd", "/run/zcrxd", "/usr/share/zcrxd"]
        {
            ensure!(!Path::new(gone).exists(), "{gone} is left");
        }
        let state = property("LoadState")?;
        ensure!(state == "not-found", "the unit is {state}");
        for entry in fs::read_dir("/proc").context("cannot read /proc")? {
            let path = entry.context("cannot read /proc")?.path();
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if comm.trim() == "zcrxd" {
                bail!("{} is still zcrxd", path.display());
            }
        }
        Ok(())
    },
};

/// `/proc/PID/status` of the service.
fn status() -> Result<String> {
    let path = format!("/proc/{}/status", property("MainPID")?);
    fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

fn field<'s>(status: &'s str, name: &str) -> &'s str {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}
