//! The real zcrxd as a child process.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::metrics::{Metrics, get};
use super::namespace::Namespace;
use super::process::Process;
use super::seccomp;
use super::{artefacts, eventually, program, work};

/// Address of the web endpoint in the daemon's network namespace.
const WEB: &str = "127.0.0.1:9965";

/// Longest time of a start or a stop. Attaching probes to an emulated kernel on a busy machine takes a minute.
const LIMIT: Duration = Duration::from_mins(3);

fn runtime_directory() -> PathBuf {
    work().join("run")
}

/// A running daemon.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    process: Process,
    namespace: &'a Namespace,
}

impl<'a> Daemon<'a> {
    /// Starts zcrxd with further arguments of `zcrxd run` and waits until it is ready.
    pub(crate) fn start(namespace: &'a Namespace, arguments: &[&str]) -> Result<Self> {
        Self::spawn(namespace, namespace.command(program("zcrxd")), WEB, arguments)
    }

    /// As [`Daemon::start`], by a command that executes `zcrxd` with the arguments that follow.
    pub(crate) fn start_by(namespace: &'a Namespace, command: Command, arguments: &[&str]) -> Result<Self> {
        Self::spawn(namespace, command, WEB, arguments)
    }

    /// As [`Daemon::start`], with a filter that refuses this and later opcodes of io_uring_register, as older kernels do.
    pub(crate) fn start_in_older_kernel(
        namespace: &'a Namespace,
        opcode: u32,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut command = namespace.command(program("zcrxd"));
        seccomp::register_ends_before(&mut command, opcode);
        Self::spawn(namespace, command, WEB, arguments)
    }

    /// As [`Daemon::start`], with a web endpoint on all interfaces of the namespace.
    pub(crate) fn start_public(namespace: &'a Namespace, arguments: &[&str]) -> Result<Self> {
        Self::spawn(namespace, namespace.command(program("zcrxd")), "0.0.0.0:9965", arguments)
    }

    /// As [`Daemon::start`], as a user without privileges.
    pub(crate) fn start_unprivileged(namespace: &'a Namespace, arguments: &[&str]) -> Result<Self> {
        const UNPRIVILEGED_USER: u32 = 65534;
        let directory = runtime_directory();
        std::fs::create_dir_all(&directory).context("cannot make the daemon's runtime directory")?;
        std::os::unix::fs::chown(&directory, Some(UNPRIVILEGED_USER), Some(UNPRIVILEGED_USER))
            .context("cannot change the owner of the runtime directory")?;
        let mut command = namespace.command(program("zcrxd"));
        // Command::uid would take effect before the child enters the namespace.
        // SAFETY: between fork and exec only setgid and setuid are called, which are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                let done = libc::setgid(UNPRIVILEGED_USER) == 0 && libc::setuid(UNPRIVILEGED_USER) == 0;
                if done { Ok(()) } else { Err(io::Error::last_os_error()) }
            });
        }
        Self::spawn(namespace, command, WEB, arguments)
    }

    fn spawn(namespace: &'a Namespace, mut command: Command, web: &str, arguments: &[&str]) -> Result<Self> {
        let directory = runtime_directory();
        std::fs::create_dir_all(&directory).context("cannot make the daemon's runtime directory")?;
        command.args(["run", "--web.listen-address", web, "--runtime-dir"]).arg(directory);
        let process = Process::start("zcrxd", command.args(arguments))?;
        let mut daemon = Self { process, namespace };
        // zcrxd answers other requests before it has attached its probes and opened its queues.
        let ready = eventually("zcrxd is ready", LIMIT, || {
            daemon.process.alive()?;
            Ok(daemon.get("/readyz").ok().filter(|(status, _)| *status == 200))
        });
        ready.with_context(|| {
            format!("/readyz says {:?}; log: {}", daemon.get("/readyz"), daemon.process.stderr())
        })?;
        Ok(daemon)
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        let address: SocketAddr = WEB.parse().context("an address is an address")?;
        self.namespace.enter(|| get(address, path))
    }

    /// Returns a page of the web endpoint. Fails unless the status is 200.
    pub(crate) fn page(&self, path: &str) -> Result<String> {
        let (status, body) = self.get(path)?;
        ensure!(status == 200, "{path} answers {status}");
        Ok(body)
    }

    /// Returns what `zcrxd diagnose` prints about a queue, for example `zcnic0:2`.
    pub(crate) fn diagnose(&self, queue: &str) -> Result<String> {
        let mut command = self.namespace.command(program("zcrxd"));
        command.args(["diagnose", "--queue", queue, "--runtime-dir"]).arg(runtime_directory());
        // Exit status 1 says that a queue starves.
        let answer = command.output().context("cannot run zcrxd diagnose")?;
        Ok(format!("{}{}", String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr)))
    }

    /// Returns what `zcrxd diagnose --format json` prints.
    pub(crate) fn diagnose_json(&self) -> Result<Value> {
        let mut command = self.namespace.command(program("zcrxd"));
        command.args(["diagnose", "--format", "json", "--runtime-dir"]).arg(runtime_directory());
        // Exit status 1 says that a queue starves.
        let answer = command.output().context("cannot run zcrxd diagnose")?;
        let said = || format!("zcrxd diagnose prints no JSON: {}", String::from_utf8_lossy(&answer.stderr));
        serde_json::from_slice(&answer.stdout).with_context(said)
    }

    /// Scrapes the metrics. The last scrape becomes an artefact.
    pub(crate) fn metrics(&self) -> Result<Metrics> {
        let address: SocketAddr = WEB.parse().context("an address is an address")?;
        let metrics = self.namespace.enter(|| Metrics::scrape(address))?;
        std::fs::write(artefacts().join("metrics.prom"), &metrics.text).context("cannot keep the metrics")?;
        Ok(metrics)
    }

    /// Scrapes the metrics until they pass the test.
    pub(crate) fn until(
        &mut self,
        what: &str,
        limit: Duration,
        test: impl Fn(&Metrics) -> bool,
    ) -> Result<Metrics> {
        eventually(what, limit, || {
            self.process.alive()?;
            Ok(Some(self.metrics()?).filter(&test))
        })
    }

    /// Keeps the kernel's list of connections in the daemon's network namespace as an artefact.
    pub(crate) fn keep_connections(&self) -> Result<()> {
        for (from, to) in [("tcp", "tcp.txt"), ("netstat", "netstat.txt")] {
            let path = format!("/proc/thread-self/net/{from}");
            let text =
                self.namespace.enter(|| std::fs::read_to_string(&path).with_context(|| path.clone()))?;
            std::fs::write(artefacts().join(to), text).context("cannot keep the list of connections")?;
        }
        // Requests in flight on the daemon's rings.
        let mut rings = String::new();
        let folder = format!("/proc/{}/fdinfo", self.process.id());
        for entry in std::fs::read_dir(&folder).context("cannot read fdinfo")?.flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            if text.contains("SqMask") {
                writeln!(rings, "{}\n{text}", entry.path().display())?;
            }
        }
        std::fs::write(artefacts().join("rings.txt"), rings).context("cannot keep the rings")
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops zcrxd with SIGTERM and returns its log. Fails unless the exit status is 0.
    pub(crate) fn stop(mut self) -> Result<String> {
        self.process.signal(libc::SIGTERM)?;
        let status = self.process.wait(LIMIT)?;
        let log = self.process.stderr();
        ensure!(status.success(), "zcrxd stopped with {status}: {log}");
        Ok(log)
    }

    /// Kills zcrxd with SIGKILL.
    pub(crate) fn kill(self) -> Result<()> {
        self.process.kill()
    }
}
