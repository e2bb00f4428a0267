//! One virtual machine: QEMU with a kernel, an archive and a line back to us.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use zcrx_lab_guest::protocol::PORT;

use super::nics::{EmulatedNics, Qemu};

use xtask_tools::architecture::Architecture;
use xtask_tools::cache::{Cache, Key};
use xtask_tools::command::output;

/// QEMU's console and message files end at this size; QEMU is ended by the kernel when it writes more.
const OUTPUT_CAP: u64 = 16 << 20;

/// How long the probe of KVM may take: it boots in a second or not at all.
const KVM_PROBE: Duration = Duration::from_secs(10);

/// Sockets of emulated NICs, in the machine's folder.
const SOCKETS: [&str; 2] = ["nic-a.sock", "nic-b.sock"];

/// Numbers of this process's environment that scenarios in the guest get: the seed of random ones, and how many steps they take.
pub(crate) const PARAMETERS: [&str; 2] = ["ZCRX_LAB_SEED", "ZCRX_LAB_STEPS"];

/// Those numbers that the environment has.
fn environment() -> impl Iterator<Item = (&'static str, u64)> {
    PARAMETERS.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?.parse().ok()?)))
}

/// What the guest's `hello` prints.
const MARKER: &str = "zcrx-lab: this machine boots";

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's emulation.
    Tcg,
    /// QEMU's emulation of one processor, of which an instruction takes a nanosecond of the guest's time: what a task has
    /// run for is how many instructions it took, whatever else this machine does.
    Counting,
}

impl Accelerator {
    fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg,thread=multi",
            Self::Counting => "tcg,thread=single",
        }
    }

    /// The processors.
    fn processors(self, architecture: Architecture) -> Vec<&'static str> {
        let model = match (self, architecture) {
            (Self::Kvm, _) | (Self::Tcg, Architecture::Amd64) => "max",
            // Without instructions that count once for each byte that they copy.
            (Self::Counting, Architecture::Amd64) => "max,-rdrand,-rdseed,-erms,-fsrm",
            // Pointers are signed by a hash that QEMU can compute quickly.
            (Self::Tcg | Self::Counting, Architecture::Arm64) => "max,pauth-impdef=on",
        };
        let processors = match self {
            Self::Kvm | Self::Tcg => &["-smp", "2"][..],
            Self::Counting => {
                &["-smp", "1", "-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm"]
            }
        };
        ["-cpu", model].into_iter().chain(processors.iter().copied()).collect()
    }

    /// KVM if a machine really boots with it, else emulation. The answer is kept for this kernel and QEMU.
    pub(crate) fn probe(
        cache: &Cache,
        architecture: Architecture,
        kernel: &Path,
        guest: &Path,
    ) -> Result<Self> {
        if architecture != Architecture::HERE
            || File::options().read(true).write(true).open("/dev/kvm").is_err()
        {
            return Ok(Self::Tcg);
        }
        let qemu = output(Qemu::Installed.command(architecture)?.arg("--version"))?;
        let host = fs::read_to_string("/proc/sys/kernel/version").unwrap_or_default();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let key = Key::new().bytes(qemu).bytes(host).bytes(release).name();
        let directory = cache.build("lab/accelerator", &key, |directory| {
            let mut archive = super::initramfs::Archive::new();
            archive.file("/init", guest)?;
            let mut machine = Machine::new(architecture, kernel, archive.finish(), directory)?;
            machine.accelerator = Self::Kvm;
            machine.memory_mib = 256;
            machine.init = vec!["hello".to_owned()];
            let mut running = machine.start(Stdio::null(), Stdio::null())?;
            running.wait(KVM_PROBE)?;
            drop(running);
            let said = fs::read(machine.console()).unwrap_or_default();
            let answer = if String::from_utf8_lossy(&said).contains(MARKER) { Self::Kvm } else { Self::Tcg };
            let answer = serde_json::to_string(&answer).context("cannot write the answer")?;
            fs::write(directory.join("answer.json"), answer).context("cannot keep the answer")
        })?;
        let answer =
            fs::read_to_string(directory.join("answer.json")).context("cannot read the kept answer")?;
        serde_json::from_str(&answer).context("the kept answer cannot be read")
    }
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    architecture: Architecture,
    kernel: PathBuf,
    directory: PathBuf,
    /// What runs its instructions.
    pub accelerator: Accelerator,
    /// Memory, MiB.
    pub memory_mib: u32,
    /// Arguments of the guest's init.
    pub init: Vec<String>,
    /// A TCP port of the host's loopback and the guest's port it leads to; the guest then has a virtio NIC.
    pub forward: Option<(u16, u16)>,
    /// Numbers that scenarios read in their environment.
    pub parameters: Vec<(&'static str, u64)>,
    /// Emulated NICs, and the program that serves them.
    pub nics: Option<(EmulatedNics, PathBuf)>,
}

impl Machine {
    /// A machine whose files lie in `directory`.
    pub(crate) fn new(
        architecture: Architecture,
        kernel: &Path,
        archive: Vec<u8>,
        directory: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let machine = Self {
            architecture,
            kernel: kernel.to_owned(),
            directory: directory.to_owned(),
            accelerator: Accelerator::Tcg,
            memory_mib: 1536,
            init: Vec::new(),
            forward: None,
            parameters: environment().collect(),
            nics: None,
        };
        let path = machine.archive();
        fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(machine)
    }

    /// What the machine's console said.
    pub(crate) fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    fn archive(&self) -> PathBuf {
        self.directory.join("initramfs.cpio")
    }

    /// Starts it; its results come out of standard output.
    ///
    /// It dies with the thread that starts it, however that dies.
    pub(crate) fn start(&self, input: Stdio, results: Stdio) -> Result<Running> {
        let messages = self.directory.join("qemu.log");
        let messages =
            File::create(&messages).with_context(|| format!("cannot make {}", messages.display()))?;
        let mut command = self.command()?;
        // QEMU reads a comma in a file name as the end of the name; relative names have none.
        command.args(["-chardev", "file,id=console,path=console.log", "-serial", "chardev:console"]);
        // Of kind "file", because one of kind "stdio" is disconnected as soon as standard input is at its end.
        command.args(["-chardev", "file,id=results,path=/dev/fd/1", "-device", "virtio-serial"]);
        command.arg("-device").arg(format!("virtserialport,chardev=results,name={PORT}"));
        command.args(["-append", &self.append("quiet loglevel=4")]);
        command.stdin(input).stdout(results).stderr(messages);
        let devices = self.start_devices()?;
        let mut running =
            Running::start_capped(&mut command, self.file_cap()).context("cannot start QEMU")?;
        running.archive = Some(self.archive());
        running.devices = devices;
        Ok(running)
    }

    /// Runs it on this terminal until it ends.
    pub(crate) fn interactive(&self) -> Result<()> {
        let mut command = self.command()?;
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        command.args(["-append", &self.append("quiet loglevel=4")]);
        let devices = self.start_devices()?;
        let mut running =
            Running::start_capped(&mut command, self.file_cap()).context("cannot start QEMU")?;
        running.archive = Some(self.archive());
        running.devices = devices;
        running.child.wait().context("cannot wait for QEMU")?;
        Ok(())
    }

    fn append(&self, kernel: &str) -> String {
        // The kernel puts parameters that it does not know into the environment of process 1, where scenarios read them.
        let numbers = self.parameters.iter().map(|(name, value)| format!("{name}={value} "));
        format!(
            "{} panic=-1 {kernel} random.trust_cpu=on audit=0 mitigations=off {}-- {}",
            self.hardware(),
            numbers.collect::<String>(),
            self.init.join(" ")
        )
    }

    /// What the kernel is to know of the machine: its console and its clock.
    fn hardware(&self) -> &'static str {
        match (self.architecture, self.accelerator) {
            // tsc=reliable and the like save the calibrations that an emulated clock makes slow.
            (Architecture::Amd64, Accelerator::Kvm | Accelerator::Tcg) => {
                "console=ttyS0 tsc=reliable no_timer_check lpj=4000000"
            }
            // The kernel takes the time of interrupts off the time of tasks, and takes what is left over of it off the next
            // task's: a receiver that an interrupt wakes would lose most of its instructions.
            (Architecture::Amd64, Accelerator::Counting) => {
                "console=ttyS0 tsc=reliable tsc=noirqtime no_timer_check lpj=4000000"
            }
            (Architecture::Arm64, _) => "console=ttyAMA0",
        }
    }

    fn command(&self) -> Result<Command> {
        let qemu = self.nics.as_ref().map_or(&Qemu::Installed, |(nics, _)| &nics.qemu);
        let mut command = qemu.command(self.architecture)?;
        command.current_dir(&self.directory);
        command.args(["-accel", self.accelerator.argument()]);
        let board = match self.architecture {
            Architecture::Amd64 => "q35",
            Architecture::Arm64 => "virt,gic-version=3",
        };
        if self.nics.is_some() {
            // The devices' process maps the guest's memory.
            command.args([
                "-object",
                &format!("memory-backend-memfd,id=memory,size={}M,share=on", self.memory_mib),
            ]);
            command.arg("-machine").arg(format!("{board},memory-backend=memory"));
        } else {
            command.args(["-machine", board]);
        }
        command.args(self.accelerator.processors(self.architecture));
        command.args(["-m", &self.memory_mib.to_string()]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.arg("-kernel").arg(&self.kernel).args(["-initrd", "initramfs.cpio"]);
        if let Some((host, guest)) = self.forward {
            command
                .arg("-netdev")
                .arg(format!("user,id=host,restrict=on,hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
            command.args(["-device", "virtio-net-pci,netdev=host"]);
        }
        if self.nics.is_some() {
            for socket in SOCKETS {
                command.arg("-device").arg(format!(
                    r#"{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{socket}"}}}}"#
                ));
            }
        }
        Ok(command)
    }

    /// Largest file that QEMU may make: guest memory that another process maps is a file.
    fn file_cap(&self) -> u64 {
        if self.nics.is_some() { u64::from(self.memory_mib) << 20 } else { OUTPUT_CAP }
    }

    /// Starts the process that serves the emulated NICs, if there are any, and waits until QEMU can connect.
    fn start_devices(&self) -> Result<Option<Box<Running>>> {
        let Some((nics, program)) = &self.nics else { return Ok(None) };
        for socket in SOCKETS {
            // Of an earlier boot in this folder; mostly there is none.
            fs::remove_file(self.directory.join(socket)).ok();
        }
        let log = self.directory.join("devices.log");
        let log = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new(program);
        // Relative names: the path of a socket may have 107 bytes.
        command.current_dir(&self.directory).arg(nics.kind).args(SOCKETS);
        let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log))?;
        let mut ready = String::new();
        let said = running.results().context("the output of a process can be read once")?;
        BufReader::new(said).read_line(&mut ready).context("cannot read what the devices' process says")?;
        ensure!(ready == "ready\n", "the process of the emulated NICs did not start: see devices.log");
        Ok(Some(Box::new(running)))
    }
}

/// A running machine; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    archive: Option<PathBuf>,
    /// The process that serves its emulated NICs; ends after the machine.
    devices: Option<Box<Self>>,
}

impl Running {
    /// Starts a program that dies with the thread that starts it, and whose files are capped.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Self::start_capped(command, OUTPUT_CAP)
    }

    /// Likewise, with files of at most that size, bytes.
    fn start_capped(command: &mut Command, file_cap: u64) -> Result<Self> {
        // SAFETY: between fork and exec only prctl and setrlimit are called, which are async-signal-safe and are given
        // constants and structures on the stack.
        unsafe {
            command.pre_exec(move || {
                let cap = libc::rlimit { rlim_cur: file_cap, rlim_max: file_cap };
                let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
                let failed = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0
                    || libc::setrlimit(libc::RLIMIT_FSIZE, &raw const cap) != 0
                    || libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) != 0;
                if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
            });
        }
        let child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { child, archive: None, devices: None })
    }

    /// The machine's results, once.
    pub(crate) fn results(&mut self) -> Option<impl Read + Send + use<>> {
        self.child.stdout.take()
    }

    /// Waits until it has ended or the time is over; whether it ended.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        let deadline = std::time::Instant::now() + limit;
        while std::time::Instant::now() < deadline {
            if self.child.try_wait().context("cannot wait for QEMU")?.is_some() {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(false)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        if let Some(archive) = self.archive.take() {
            fs::remove_file(archive).ok();
        }
    }
}
