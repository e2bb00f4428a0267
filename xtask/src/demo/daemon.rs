//! The daemon under demonstration: built, started, watched, stopped.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use xtask_tools::scrape;
use xtask_tools::workspace::{cargo, target};

/// How long starting and stopping may take.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The index of the queue whose sink compares every byte with what was sent.
pub(super) const VERIFY: u32 = 0;

/// The index of the queue whose sink forwards to the demo's own reader.
pub(super) const FORWARD: u32 = 1;

/// Buffers are exhausted soon in so small an area.
const FORWARD_AREA: &str = "1MiB";

/// A running zcrxd; stopped when dropped.
pub(crate) struct Daemon {
    /// The web endpoint.
    pub web: SocketAddr,
    /// Where [`VERIFY`] listens.
    pub verify: SocketAddr,
    /// Where [`FORWARD`] listens.
    pub forward: SocketAddr,
    directory: PathBuf,
    log: PathBuf,
    program: PathBuf,
    child: Child,
}

impl Daemon {
    /// Builds zcrxd and returns its path.
    pub(crate) fn build() -> Result<PathBuf> {
        let mut build = cargo();
        // Shown as cargo shows it: the first time it takes minutes.
        let status = build.args(["build", "--package", "zcrx-daemon", "--bin", "zcrxd"]).status();
        if !status.context("cannot start cargo")?.success() {
            bail!("zcrxd cannot be built");
        }
        Ok(target()?.join("debug/zcrxd"))
    }

    /// Starts zcrxd with its two queues and waits until it is ready.
    pub(super) fn start(program: PathBuf, reader: SocketAddr) -> Result<Self> {
        let directory = target()?.join(format!("demo/{}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let [web, verify, forward] = free_addresses()?;
        let config = directory.join("zcrxd.toml");
        let text = configuration(&directory, web, verify, forward, reader);
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let log = directory.join("zcrxd.log");
        let said = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new(&program);
        command
            .arg("run")
            .arg("--config")
            .arg(&config)
            // The demo shows the default level of logging.
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(said.try_clone().context("cannot share the log")?)
            .stderr(said);
        die_with_parent(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut daemon = Self { web, verify, forward, directory, log, program, child };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// The command that sends `bytes` of the test pattern to the verifying queue and checks its answer.
    pub(super) fn send(&self, bytes: u64) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["send", "--to", &self.verify.to_string(), "--bytes", &bytes.to_string()]);
        die_with_parent(&mut command);
        command
    }

    /// Prints what an operator sees: `zcrxd diagnose` about the queue of this index.
    pub(super) fn print_diagnosis(&self, queue: u32) -> Result<()> {
        let queue = format!("software:{queue}");
        println!("$ zcrxd diagnose --queue {queue}");
        let mut command = Command::new(&self.program);
        command.args(["diagnose", "--queue", &queue, "--runtime-dir"]).arg(self.directory.join("run"));
        // Exit status 1 says that a queue starves.
        let answer = command.output().context("cannot run zcrxd diagnose")?;
        print!("{}{}", String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        Ok(())
    }

    /// Returns the first cause of the open episode of the queue of this index; `None` without one.
    pub(super) fn first_cause(&self, queue: u32) -> Result<Option<String>> {
        let page = scrape::get(self.web, "/diagnose.json")?;
        let answer: serde_json::Value = serde_json::from_str(&page).context("/diagnose.json is not JSON")?;
        let queues = answer["queues"].as_array().into_iter().flatten();
        let mut causes = queues
            .map(|report| &report["episode"])
            .filter(|episode| episode["key"]["interface"].is_null() && episode["key"]["queue"] == queue)
            .filter_map(|episode| episode["diagnosis"]["causes"][0]["cause"].as_str());
        Ok(causes.next().map(str::to_owned))
    }

    /// How a person sends to it.
    pub(super) fn example(&self) -> String {
        format!("{} send --to {} --bytes 64MiB", self.program.display(), self.verify)
    }

    /// Asks it to end as an operator would, and waits for it.
    pub(super) fn stop(&mut self) -> Result<(ExitStatus, Duration)> {
        let begin = Instant::now();
        self.signal(libc::SIGTERM);
        while begin.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait().context("cannot wait for zcrxd")? {
                return Ok((status, begin.elapsed()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("zcrxd did not end within {} s of SIGTERM", START_LIMIT.as_secs())
    }

    /// Waits until it ends by itself.
    pub(super) fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().context("cannot wait for zcrxd")
    }

    /// The last lines that it said, and where the others are.
    pub(super) fn last_words(&self) -> String {
        let said = self.all_said();
        let lines: Vec<_> = said.lines().collect();
        format!("{}\n(all of it: {})", lines[lines.len().saturating_sub(8)..].join("\n"), self.log.display())
    }

    /// Its closing line.
    pub(super) fn totals(&self) -> String {
        self.said("stopped:").pop().unwrap_or_default()
    }

    /// What it said of something: its lines from there on.
    pub(super) fn said(&self, of: &str) -> Vec<String> {
        let said = self.all_said();
        said.lines().filter_map(|line| Some(line[line.find(of)?..].to_owned())).collect()
    }

    /// Removes what it wrote, once all is well.
    pub(super) fn forget(self) -> Result<()> {
        let directory = self.directory.clone();
        drop(self);
        fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))
    }

    fn all_said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("cannot wait for zcrxd")? {
                bail!("zcrxd ended at once ({status}):\n{}", self.last_words());
            }
            match scrape::get(self.web, "/readyz") {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > START_LIMIT => {
                    return Err(error).with_context(|| {
                        format!(
                            "zcrxd did not become ready in {} s:\n{}",
                            START_LIMIT.as_secs(),
                            self.last_words()
                        )
                    });
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id is a pid_t");
        // SAFETY: kill has no preconditions; the child was not waited for yet, so the id is still its own.
        unsafe { libc::kill(pid, signal) };
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.stop().is_err() {
            // It had its time; what remains is to leave nothing behind.
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A process that is left when the demo ends in any way, ends too.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: between fork and exec only prctl and getppid are called, which are safe there.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The parent may have ended before the request; then no signal will come.
            if libc::getppid().cast_unsigned() != parent {
                return Err(std::io::Error::other("the demo has ended"));
            }
            Ok(())
        });
    }
}

fn configuration(
    directory: &Path,
    web: SocketAddr,
    verify: SocketAddr,
    forward: SocketAddr,
    reader: SocketAddr,
) -> String {
    // A folder that is not there yet: zcrxd makes it, for its user alone.
    let runtime = toml::Value::from(directory.join("run").to_string_lossy().as_ref());
    format!(
        "# The demo's configuration.\n\
         runtime_dir = {runtime}\n\n\
         [web]\nlisten_addresses = [\"{web}\"]\n\n\
         [[queue]]\nlisten = [\"{verify}\"]\nsink = \"verify\"\n\n\
         # Its backend is the one whose allocator zcrxd owns, so that a starvation can be counted on any kernel.\n\
         [[queue]]\nlisten = [\"{forward}\"]\nbackend = \"copy\"\narea = \"{FORWARD_AREA}\"\n\
         # Without a limit: a slow reader shall starve the queue.\n\
         hold_limit = \"{FORWARD_AREA}\"\nsink = \"forward:{reader}\"\n"
    )
}

/// Addresses on loopback without a listener.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    // All are bound at once, so that no two are the same.
    let listeners: Vec<_> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<_> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("there are as many addresses as listeners"))
}
