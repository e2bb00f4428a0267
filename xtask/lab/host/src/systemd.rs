//! `cargo xtask lab systemd` and `quick-start`: the package and the service on a real Debian with systemd, Prometheus
//! and Alertmanager.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::initramfs::Archive;
use super::kernels::Kernel;
use super::machine::{Accelerator, Machine};
use super::previous::previous;
use super::session::{self, Ground};
use super::{Lab, Tally};
use xtask_tools::apt::{Apt, Network};
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::{output, require, run};
use xtask_tools::workspace::root;

/// Debian release of the guest.
const SUITE: &str = "trixie";

/// Packages of every plan's system.
const PACKAGES: &str = "systemd-sysv,dbus,udev,iproute2,ethtool";

/// Memory of the guest: the root file system lies in memory, twice while the kernel unpacks it.
const MEMORY_MIB: u32 = 3072;

/// What the guest does.
#[derive(Clone, Copy)]
pub(super) enum Plan {
    /// Puts the service through its life.
    Life,
    /// Follows docs/quick-start.md.
    QuickStart,
    /// Builds and runs the container image.
    Container,
}

impl Plan {
    /// The command of the guest's program.
    fn command(self) -> &'static str {
        match self {
            Self::Life => "service",
            Self::QuickStart => "quick-start",
            Self::Container => "container",
        }
    }

    /// What the system consists of, beside what is essential.
    fn packages(self) -> String {
        let servers = "prometheus,prometheus-alertmanager";
        let more = match self {
            Self::Life => servers.to_owned(),
            Self::QuickStart => format!("{servers},curl"),
            Self::Container => "podman,crun,netavark,ca-certificates,curl".to_owned(),
        };
        format!("{PACKAGES},{more}")
    }

    /// Runs the guest's program once everything else is up.
    fn unit(self) -> String {
        format!(
            "[Unit]\nDescription=zcrxd's lab\nAfter=multi-user.target\n\n\
             [Service]\nExecStart=/lab/guest {}\nStandardOutput=journal+console\n",
            self.command()
        )
    }
}

/// The guest has no logins and no hotplug.
const MASKED: [&str; 5] = [
    "serial-getty@ttyS0.service",
    "serial-getty@ttyAMA0.service",
    "systemd-hwdb-update.service",
    "systemd-firstboot.service",
    "apt-daily.timer",
];

/// In the service's life, the lab starts the servers itself, with its own configuration.
const SERVERS: [&str; 2] = ["prometheus.service", "prometheus-alertmanager.service"];

/// Alertmanager's members find each other by an address of the host, and the guest has none.
const ONE_ALERTMANAGER: &str = "ARGS=\"--cluster.listen-address=\"\n";

/// The root of a guest is a RAM disk, which cannot be pivoted.
const ON_A_RAM_DISK: &str = "[engine]\nno_pivot_root = true\n";

/// A RAM disk cannot be the upper layer of an overlay.
const STORAGE: &str = "[storage]\ndriver = \"vfs\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/var/lib/containers/storage\"\n";

/// The document that [`Plan::QuickStart`] follows.
const QUICK_START: &str = "docs/quick-start.md";

/// Panels and rules whose queries may have no answer in the guest, though their series are not said to be absent at
/// times, and why. The step fails if one of these has an answer.
const MAY_BE_EMPTY: [(&str, &str); 1] = [(
    "alerts.yml: ",
    "an alert whose query answers is an alert, and only one thing is made wrong in the guest",
)];

/// Runs the steps of the plan in a guest; fails if a step fails.
pub(super) fn run_steps(
    plan: Plan,
    network: Network,
    kernel: Option<String>,
    package: Option<&Path>,
) -> Result<()> {
    let names: Vec<_> = kernel.into_iter().collect();
    let lab = Lab::open(network, &names)?;
    let rows = lab.rows(&names)?;
    let row = rows.first().context("one kernel is chosen")?;
    let kernel = row.kernel.clone().map_err(|reason| anyhow::anyhow!("{}: {reason}", row.series))?;
    let package = package.context("the steps need zcrxd's Debian package")?;
    let system = debian(&lab.cache, network, kernel.architecture(), &plan.packages())?;
    let steps = output(Command::new(lab.programs.guest()).arg(format!("list-{}", plan.command())))?;
    let steps: Vec<_> = serde_json::from_str(&steps).context("the guest's list of steps cannot be read")?;
    let boot = |directory: &Path| machine(plan, &lab, &kernel, &system, package, directory);
    let directory = lab.directory.join(plan.command());
    let report = session::run(plan.command(), Ground::Guest(&boot), &steps, false, &directory)?;
    for (name, value) in &report.facts {
        println!("{name}: {value}");
    }
    let mut tally = Tally::default();
    tally.add(&report);
    lab.close(&tally)
}

fn machine(
    plan: Plan,
    lab: &Lab,
    kernel: &Kernel,
    system: &Path,
    deb: &Path,
    directory: &Path,
) -> Result<Machine> {
    let mut archive = Archive::new();
    archive.link("/init", "usr/lib/systemd/systemd");
    let programs = lab.programs_for(kernel)?;
    archive.file("/lab/guest", &programs.guest())?;
    archive.file("/lab/faulty-app", &programs.foreign())?;
    lab.nic.equip(&lab.cache, lab.network, &lab.kernels, kernel, &mut archive)?;
    let mask = |archive: &mut Archive, unit| {
        archive.link(format!("/etc/systemd/system/{unit}"), "/dev/null");
    };
    match plan {
        Plan::Life => {
            archive.file("/lab/zcrxd.deb", deb)?;
            archive.file("/lab/zcrxd-previous.deb", &previous(deb, directory)?)?;
            archive.text("/lab/queries.jsonl", &zcrx_dashboards::queries()?);
            let reasons = serde_json::to_string(&MAY_BE_EMPTY).context("cannot write the reasons")?;
            archive.text("/lab/may-be-empty.json", &reasons);
            for unit in SERVERS {
                mask(&mut archive, unit);
            }
        }
        Plan::QuickStart => {
            // Where the user has put the package, under the name that `cargo xtask dist` gives it.
            archive.file(Path::new("/root").join(deb.file_name().context("a package has a name")?), deb)?;
            archive.file("/lab/quick-start.md", &root().join(QUICK_START))?;
            archive.text("/etc/default/prometheus-alertmanager", ONE_ALERTMANAGER);
        }
        Plan::Container => {
            let distributed = deb.parent().context("a package lies in a folder")?.join("root");
            for file in ["usr/bin/zcrxd", "etc/zcrxd/zcrxd.toml"] {
                let inside = Path::new("/root/zcrxd/target/dist/root").join(file);
                archive.file(inside, &distributed.join(file))?;
            }
            archive.file("/root/zcrxd/deploy/Containerfile", &root().join("deploy/Containerfile"))?;
            archive.file("/lab/install.md", &root().join("docs/install.md"))?;
            archive.text("/lab/capabilities", &chart_capabilities()?);
            archive.text("/etc/containers/containers.conf", ON_A_RAM_DISK);
            archive.text("/etc/containers/storage.conf", STORAGE);
        }
    }
    archive.text("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    archive.text("/etc/systemd/system/zcrx-lab.service", &plan.unit());
    archive.link("/etc/systemd/system/multi-user.target.wants/zcrx-lab.service", "../zcrx-lab.service");
    for unit in MASKED {
        mask(&mut archive, unit);
    }
    // The kernel unpacks one archive after another.
    let mut bytes = fs::read(system).with_context(|| format!("cannot read {}", system.display()))?;
    bytes.extend(archive.finish());
    let image = lab.kernels.image(kernel)?;
    let mut machine = Machine::new(kernel.architecture(), &image, bytes, directory)?;
    machine.accelerator = Accelerator::probe(&lab.cache, kernel.architecture(), &image, &programs.guest())?;
    machine.memory_mib = MEMORY_MIB;
    Ok(machine)
}

/// Returns the path of the system's root as an archive, which is made once.
fn debian(cache: &Cache, network: Network, architecture: Architecture, packages: &str) -> Result<PathBuf> {
    let mut key = Key::new().bytes(SUITE).bytes(packages);
    if architecture != Architecture::HERE {
        key = key.bytes(architecture.debian());
    }
    let key = key.name();
    let directory = cache.build("lab/system", &key, |directory| {
        if network == Network::Offline {
            bail!("the system with systemd was not fetched before");
        }
        // SAFETY: geteuid takes nothing and cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            bail!("making a system with systemd needs root");
        }
        let mmdebstrap = require("mmdebstrap", "mmdebstrap")?;
        eprintln!("lab: preparing a Debian {SUITE} with systemd: {packages}");
        if architecture != Architecture::HERE {
            // mmdebstrap runs the packages' scripts, which are programs of that architecture.
            require(
                &format!("qemu-{}-static", architecture.machine()),
                "qemu-user-static binfmt-support arch-test",
            )?;
        }
        let apt = Apt::open_for(architecture, cache, &[SUITE], network)?;
        let sources = directory.join("sources.list");
        fs::write(&sources, apt.sources()).with_context(|| format!("cannot write {}", sources.display()))?;
        let root = directory.join("root");
        run(Command::new(mmdebstrap)
            .args(["--variant=minbase", "--mode=root"])
            .arg(format!("--architectures={}", architecture.debian()))
            .arg(format!("--include={packages}"))
            .arg(SUITE)
            .arg(&root)
            .arg(&sources)
            .stdin(Stdio::null()))?;
        let mut archive = Archive::new();
        for folder in
            ["bin", "sbin", "lib", "lib64", "etc", "usr", "var", "root", "run", "tmp", "dev", "proc", "sys"]
        {
            // Not every architecture has lib64.
            if !root.join(folder).exists() {
                continue;
            }
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

/// The capabilities that the chart asks for, one a line.
fn chart_capabilities() -> Result<String> {
    const CHART: &str = "deploy/helm/zcrxd/values.yaml";
    let values = fs::read_to_string(root().join(CHART)).with_context(|| format!("cannot read {CHART}"))?;
    let list = values.lines().find_map(|line| line.strip_prefix("capabilities: [")?.strip_suffix(']'));
    Ok(list.with_context(|| format!("{CHART} lists no capabilities"))?.replace(", ", "\n"))
}
