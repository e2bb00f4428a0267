//! `cargo xtask lab systemd`: the package and the service on a real Debian with systemd, Prometheus and Alertmanager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::initramfs::Archive;
use super::kernels::Kernel;
use super::machine::{Accelerator, Machine};
use super::session::{self, Ground};
use super::{Lab, Tally};
use xtask_tools::apt::{Apt, Network};
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{output, require, run};

/// The release that the package is for.
const SUITE: &str = "trixie";

/// What the system consists of, beside what is essential.
const PACKAGES: &str = "systemd-sysv,dbus,udev,iproute2,ethtool,prometheus,prometheus-alertmanager";

/// Its root file system lies in memory, twice while the kernel unpacks it.
const MEMORY_MIB: u32 = 3072;

/// Runs this program in the guest once everything else is up.
const UNIT: &str = "\
[Unit]
Description=zcrxd's lab
After=multi-user.target

[Service]
ExecStart=/lab/guest service
StandardOutput=journal+console
";

/// The guest has no logins and no hotplug; the lab starts the servers itself, with its own configuration.
const MASKED: [&str; 6] = [
    "serial-getty@ttyS0.service",
    "systemd-hwdb-update.service",
    "systemd-firstboot.service",
    "prometheus.service",
    "prometheus-alertmanager.service",
    "apt-daily.timer",
];

/// Panels and rules whose queries may have no answer in the guest, though their series are not said to be absent at
/// times, and why. The step fails if one of these has an answer.
const MAY_BE_EMPTY: [(&str, &str); 1] = [(
    "alerts.yml: ",
    "an alert whose query answers is an alert, and only one thing is made wrong in the guest",
)];

/// Goes through the life of the package in a guest; fails if a step does.
pub(super) fn run_steps(network: Network, package: &Path) -> Result<()> {
    let lab = Lab::open(network)?;
    let kernel = lab.kernels.newest()?.clone();
    let root = system(&lab.cache, network)?;
    let steps = output(Command::new(lab.programs.guest()).arg("list-service"))?;
    let steps: Vec<_> = serde_json::from_str(&steps).context("the guest's list of steps cannot be read")?;
    let boot = |directory: &Path| machine(&lab, &kernel, &root, package, directory);
    let directory = lab.directory.join("systemd");
    let report = session::run("systemd", Ground::Guest(&boot), &steps, false, &directory)?;
    for (name, value) in &report.facts {
        println!("{name}: {value}");
    }
    let mut tally = Tally::default();
    tally.add(&report);
    lab.close(&tally)
}

fn machine(lab: &Lab, kernel: &Kernel, root: &Path, deb: &Path, directory: &Path) -> Result<Machine> {
    let mut archive = Archive::new();
    archive.link("/init", "usr/lib/systemd/systemd");
    archive.file("/lab/guest", &lab.programs.guest())?;
    archive.file("/lab/faulty-app", &lab.programs.foreign())?;
    lab.nic.equip(&lab.cache, lab.network, &lab.kernels, kernel, &mut archive)?;
    archive.file("/lab/zcrxd.deb", deb)?;
    archive.text("/lab/queries.jsonl", &zcrx_dashboards::queries()?);
    let reasons = serde_json::to_string(&MAY_BE_EMPTY).context("cannot write the reasons")?;
    archive.text("/lab/may-be-empty.json", &reasons);
    archive.text("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    archive.text("/etc/systemd/system/zcrx-lab.service", UNIT);
    archive.link("/etc/systemd/system/multi-user.target.wants/zcrx-lab.service", "../zcrx-lab.service");
    for unit in MASKED {
        archive.link(format!("/etc/systemd/system/{unit}"), "/dev/null");
    }
    // The kernel unpacks one archive after another.
    let mut bytes = fs::read(root).with_context(|| format!("cannot read {}", root.display()))?;
    bytes.extend(archive.finish());
    let image = lab.kernels.image(kernel)?;
    let mut machine = Machine::new(&image, bytes, directory)?;
    machine.accelerator = Accelerator::probe(&lab.cache, &image, &lab.programs.guest())?;
    machine.memory_mib = MEMORY_MIB;
    Ok(machine)
}

/// The system's root as an archive, made once.
fn system(cache: &Cache, network: Network) -> Result<PathBuf> {
    let key = Key::new().bytes(SUITE).bytes(PACKAGES).name();
    let directory = cache.build("lab/system", &key, |directory| {
        if network == Network::Offline {
            bail!("the system with systemd was not fetched before");
        }
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            bail!("making a system with systemd needs root");
        }
        let mmdebstrap = require("mmdebstrap", "mmdebstrap")?;
        eprintln!("lab: preparing a Debian {SUITE} with systemd and Prometheus");
        let apt = Apt::open(cache, &[SUITE], network)?;
        let sources = directory.join("sources.list");
        fs::write(&sources, apt.sources()).with_context(|| format!("cannot write {}", sources.display()))?;
        let root = directory.join("root");
        run(Command::new(mmdebstrap)
            .args(["--variant=minbase", "--mode=root"])
            .arg(format!("--include={PACKAGES}"))
            .arg(SUITE)
            .arg(&root)
            .arg(&sources)
            .stdin(Stdio::null()))?;
        let mut archive = Archive::new();
        for folder in
            ["bin", "sbin", "lib", "lib64", "etc", "usr", "var", "root", "run", "tmp", "dev", "proc", "sys"]
        {
            archive.tree(
                folder,
                &root.join(folder),
                &["usr/share/locale", "usr/share/doc", "usr/share/info"],
            )?;
        }
        let path = directory.join("root.cpio");
        fs::write(&path, archive.finish()).with_context(|| format!("cannot write {}", path.display()))?;
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))
    })?;
    Ok(directory.join("root.cpio"))
}
