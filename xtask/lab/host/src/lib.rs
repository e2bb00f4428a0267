//! The lab: real kernels in virtual machines, with a software NIC that hosts zcrx queues.

mod accuracy;
mod bench;
mod demo;
mod drivers;
mod initramfs;
mod kernels;
mod machine;
mod matrix;
mod module;
mod nics;
mod previous;
mod programs;
mod session;
mod systemd;
mod table;
mod tally;
mod userland;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use zcrx_lab_guest::protocol::ScenarioInfo;

pub use self::bench::{BenchOptions, bench};
pub use self::demo::demo;
use self::initramfs::Archive;
use self::kernels::{Kernel, Kernels, Row, architectures_of};
use self::machine::{Accelerator, Machine};
use self::nics::EmulatedNics;
pub use self::nics::NicKind;
use self::programs::Programs;
use self::session::Ground;
use self::session::Report;
use self::systemd::Plan;
use self::tally::Tally;
use xtask_tools::apt::Network;
use xtask_tools::architecture::Architecture;
use xtask_tools::cache::Cache;
use xtask_tools::command::require;
use xtask_tools::workspace::target;

/// The name of the row for the machine's own kernel.
const HOST: &str = "host";

/// What to do in the lab.
#[derive(Debug, Args)]
pub struct LabArguments {
    #[command(subcommand)]
    command: LabCommand,
    /// Use only what was fetched before
    #[arg(long, global = true)]
    offline: bool,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Show kernels and scenarios
    List,
    /// Run scenarios
    Run {
        /// Scenarios to run; the default set if none is named
        #[arg(value_name = "SCENARIO")]
        names: Vec<String>,
        /// Series to run them on, as in 7.3, or `host` for this machine's own kernel; the newest if none is named
        #[arg(long = "kernel")]
        kernels: Vec<String>,
        /// Further scenarios to run
        #[arg(long = "scenario", value_name = "SCENARIO", num_args = 1..)]
        scenarios: Vec<String>,
        /// NICs of the guest, one after another
        #[arg(long = "nic", value_enum, default_values = ["software"])]
        nics: Vec<NicKind>,
        /// Run the others after one has failed
        #[arg(long)]
        keep_going: bool,
        /// Emulate one processor whose clock counts its instructions: for scenarios that measure
        #[arg(long)]
        count_instructions: bool,
    },
    /// Judge verdicts on random faults of an application, and print how often the first cause is right
    Accuracy(accuracy::AccuracyOptions),
    /// Run everything on every kernel and write the table of kernels, docs/kernels.md
    Matrix {
        /// Write nothing; fail if the table is not what was measured
        #[arg(long)]
        check: bool,
    },
    /// Run what needs a NIC on the kernels' own drivers of emulated devices and write the table of drivers, docs/drivers.md
    Drivers {
        /// Write nothing; fail if the table is not what was measured
        #[arg(long)]
        check: bool,
    },
    /// Install the Debian package in a guest with systemd, Prometheus and Alertmanager, and put the service through its life
    Systemd {
        /// Series to boot, as in 7.3-arm64; the newest if none is named
        #[arg(long)]
        kernel: Option<String>,
    },
    /// Follow docs/quick-start.md in such a guest, command by command, from the package to a first alert
    QuickStart,
    /// Build the container image with podman in such a guest, and run it with the chart's capabilities
    Container,
    /// Open a shell in a guest
    Shell {
        /// Series to boot; the newest if none is named
        #[arg(long)]
        kernel: Option<String>,
        /// NIC of the guest
        #[arg(long, value_enum, default_value = "software")]
        nic: NicKind,
    },
}

impl LabArguments {
    /// What zcrxd's Debian package is to be built for, for a command that installs it in a guest.
    pub fn needs_package(&self) -> Option<Architecture> {
        match &self.command {
            LabCommand::Systemd { kernel: Some(name) } => kernels::architecture_of(name),
            LabCommand::Systemd { kernel: None } | LabCommand::QuickStart | LabCommand::Container => {
                Some(Architecture::HERE)
            }
            _ => None,
        }
    }
}

/// Runs the command; `package` is zcrxd's Debian package, for a command that needs it.
pub fn run(arguments: LabArguments, package: Option<&Path>) -> Result<()> {
    let network = if arguments.offline { Network::Offline } else { Network::Online };
    match arguments.command {
        LabCommand::List => list(network),
        LabCommand::Run { names, kernels, scenarios, nics, keep_going, count_instructions } => {
            let mut lab = Lab { counts: count_instructions, ..Lab::open(network, &kernels)? };
            let named = [names, scenarios].concat();
            let rows = lab.rows(&kernels)?;
            let mut tally = Tally::default();
            'nics: for nic in nics {
                lab.nic = nic;
                let scenarios = lab.scenarios(&named)?;
                for row in &rows {
                    tally.add(&lab.run_row(row, &scenarios, keep_going)?);
                    if tally.failed > 0 && !keep_going {
                        break 'nics;
                    }
                }
            }
            lab.close(&tally)
        }
        LabCommand::Accuracy(options) => accuracy::run(&options, network),
        LabCommand::Matrix { check } => matrix::run(&Lab::open(network, &kernels::names())?, check),
        LabCommand::Drivers { check } => drivers::run(Lab::open(network, &[])?, check),
        LabCommand::Systemd { kernel } => systemd::run_steps(Plan::Life, network, kernel, package),
        LabCommand::QuickStart => systemd::run_steps(Plan::QuickStart, network, None, package),
        LabCommand::Container => systemd::run_steps(Plan::Container, network, None, package),
        LabCommand::Shell { kernel, nic } => {
            let names: Vec<_> = kernel.into_iter().collect();
            let lab = Lab { nic, ..Lab::open(network, &names)? };
            let rows = lab.rows(&names)?;
            let row = rows.first().context("one kernel is chosen")?;
            let kernel = row.kernel.as_ref().map_err(|reason| anyhow::anyhow!("{}: {reason}", row.series))?;
            let mut machine = lab.machine(&nic.kernel(kernel), &lab.directory.join("shell"))?;
            machine.init = vec!["shell".to_owned()];
            machine.interactive()
        }
    }
}

fn list(network: Network) -> Result<()> {
    let cache = Cache::open()?;
    let kernels = Kernels::choose(&cache, network, &Architecture::ALL)?;
    println!("Kernels:");
    for row in kernels.rows() {
        let state = match &row.kernel {
            Ok(kernel) => {
                let place = if kernels.cached(kernel) { "cached" } else { "to be fetched" };
                let nic = if kernel.headers.is_some() { ", software NIC" } else { "" };
                format!("{} ({place}{nic})", kernel.release)
            }
            Err(reason) => format!("not available: {reason}"),
        };
        println!("  {:<14} {state}\n  {:<14} {}", row.series, "", row.about);
    }
    println!("  {HOST:<14} {}\n  {:<14} this machine's own kernel", host_release(), "");
    println!("\nScenarios:");
    for scenario in Programs::build(Architecture::HERE)?.scenarios()? {
        let needs: Vec<_> = scenario.needs.iter().map(|need| need.name()).collect();
        let needs = if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") };
        println!(
            "  {:<28} {}\n  {:<28} needs {needs}; at most {} s",
            scenario.name, scenario.about, "", scenario.limit
        );
    }
    Ok(())
}

/// Everything one run of the lab works with.
struct Lab {
    cache: Cache,
    network: Network,
    kernels: Kernels,
    /// The programs for this machine: those of guests of the same architecture, and what serves emulated NICs.
    programs: Programs,
    /// The programs for guests of another architecture, or why there are none.
    foreign_programs: Result<Programs, String>,
    directory: PathBuf,
    started: Instant,
    /// Whether machines count instructions.
    counts: bool,
    /// The NIC of guests.
    nic: NicKind,
    /// Numbers that scenarios read in their environment.
    parameters: Vec<(&'static str, u64)>,
}

impl Lab {
    /// Prepares everything for these kernels, and for the newest one.
    fn open(network: Network, names: &[String]) -> Result<Self> {
        if Architecture::HERE != Architecture::Amd64 {
            bail!("the lab runs on x86-64 machines; its guests may be of other kinds");
        }
        require("qemu-system-x86_64", "qemu-system-x86")?;
        let cache = Cache::open()?;
        let architectures = architectures_of(names);
        let kernels = Kernels::choose(&cache, network, &architectures)?;
        let programs = Programs::build(Architecture::HERE)?;
        let foreign = architectures.iter().find(|&&architecture| architecture != Architecture::HERE);
        let foreign_programs = match foreign {
            Some(&architecture) => {
                Programs::for_emulation(architecture).map_err(|error| format!("{error:#}"))
            }
            None => Err("no kernel of another architecture was named".to_owned()),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let directory = target()?.join("lab").join(format!("{}-{}", now.as_secs(), std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let started = Instant::now();
        let nic = NicKind::Software;
        Ok(Self {
            cache,
            network,
            kernels,
            programs,
            foreign_programs,
            directory,
            started,
            counts: false,
            nic,
            parameters: Vec::new(),
        })
    }

    /// The named scenarios, or the default set; with a driver of the kernel's own, the selection for drivers.
    fn scenarios(&self, names: &[String]) -> Result<Vec<ScenarioInfo>> {
        let all = self.programs.scenarios()?;
        if names.is_empty() {
            let is_chosen = |scenario: &ScenarioInfo| match self.nic {
                NicKind::Software => scenario.default,
                NicKind::Gve | NicKind::Fbnic => scenario.drivers,
            };
            return Ok(all.into_iter().filter(is_chosen).collect());
        }
        let find = |name: &String| {
            let known = || all.iter().map(|known| known.name.as_str()).collect::<Vec<_>>().join(", ");
            let found = all.iter().find(|known| known.name == *name).cloned();
            found.with_context(|| format!("there is no scenario {name}; there are {}", known()))
        };
        names.iter().map(find).collect()
    }

    /// The named kernels, or the newest available one.
    fn rows(&self, names: &[String]) -> Result<Vec<Row>> {
        if names.is_empty() {
            let newest = self.kernels.newest()?;
            return Ok(self
                .kernels
                .rows()
                .iter()
                .filter(|row| row.series == newest.series)
                .cloned()
                .collect());
        }
        let find = |name: &String| {
            if name == HOST {
                return Ok(host_row());
            }
            let known = || kernels::names().join(", ");
            let found = self.kernels.rows().iter().find(|row| row.series == *name).cloned();
            found.with_context(|| format!("there is no kernel {name}; there are {}, {HOST}", known()))
        };
        names.iter().map(find).collect()
    }

    /// Runs scenarios on one kernel; on one that is not available, all are skipped.
    fn run_row(&self, row: &Row, scenarios: &[ScenarioInfo], keep_going: bool) -> Result<Report> {
        let label = self.nic.label(&row.series);
        let directory = self.directory.join(label.replace(' ', "-"));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        if row.series == HOST {
            return session::run(HOST, Ground::Host(&self.programs), scenarios, keep_going, &directory);
        }
        // A kernel that is not available is skipped; anything else that goes wrong is an error.
        let had = row.kernel.clone().map_err(anyhow::Error::msg).and_then(|kernel| {
            let kernel = self.nic.kernel(&kernel);
            self.programs_for(&kernel)?;
            self.kernels.image(&kernel)?;
            Ok(kernel)
        });
        match had {
            Ok(kernel) => {
                let machine = |directory: &Path| self.machine(&kernel, directory);
                session::run(&label, Ground::Guest(&machine), scenarios, keep_going, &directory)
            }
            Err(error) => {
                println!("{label:>5}  skipped: {error:#}");
                Ok(Report::skipped(scenarios, &format!("{error:#}")))
            }
        }
    }

    /// A machine with this kernel and all that scenarios need.
    fn machine(&self, kernel: &Kernel, directory: &Path) -> Result<Machine> {
        let (archive, nics) = self.archive(kernel)?;
        self.machine_with(kernel, archive, nics, directory)
    }

    fn machine_with(
        &self,
        kernel: &Kernel,
        archive: Archive,
        nics: Option<EmulatedNics>,
        directory: &Path,
    ) -> Result<Machine> {
        let image = self.kernels.image(kernel)?;
        let architecture = kernel.architecture();
        let mut machine = Machine::new(architecture, &image, archive.finish(), directory)?;
        machine.accelerator = if self.counts {
            Accelerator::Counting
        } else {
            Accelerator::probe(&self.cache, architecture, &image, &self.programs_for(kernel)?.guest())?
        };
        machine.parameters.extend(&self.parameters);
        machine.nics = nics.map(|nics| (nics, self.programs.devices()));
        Ok(machine)
    }

    /// The programs for a guest with this kernel.
    fn programs_for(&self, kernel: &Kernel) -> Result<&Programs> {
        if kernel.architecture() == Architecture::HERE {
            return Ok(&self.programs);
        }
        self.foreign_programs.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))
    }

    /// The guest's files, and the devices that QEMU adds.
    fn archive(&self, kernel: &Kernel) -> Result<(Archive, Option<EmulatedNics>)> {
        let mut archive = Archive::new();
        archive.link("/init", "lab/guest");
        for program in self.programs_for(kernel)?.all() {
            if program.exists() {
                archive.file(Path::new("/lab").join(program.file_name().unwrap_or_default()), &program)?;
            }
        }
        userland::add(&self.cache, self.network, kernel.architecture(), &mut archive)?;
        let nics = self.nic.equip(&self.cache, self.network, &self.kernels, kernel, &mut archive)?;
        Ok((archive, nics))
    }

    /// The closing line, and the error if something failed.
    fn close(&self, tally: &Tally) -> Result<()> {
        println!("\nArtefacts: {}", self.directory.display());
        println!("Time: {:.1} s", self.started.elapsed().as_secs_f64());
        if tally.repeated > 0 {
            println!("{} run again after a stray breakpoint of QEMU's", tally.repeated);
        }
        println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
        if tally.failed > 0 {
            bail!("{} failed", tally.failed);
        }
        Ok(())
    }
}

fn host_release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn host_row() -> Row {
    Row { series: HOST.to_owned(), about: "this machine's own kernel", kernel: Err(String::new()) }
}
