//! A service manager with a file descriptor store: for what one start of zcrxd leaves to the next.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::daemon::Daemon;
use super::namespace::Namespace;
use super::{STEP_LIMIT, eventually, program, work};

/// Most descriptors in one message of zcrxd.
const MOST_DESCRIPTORS: usize = 4;

/// First number of the descriptors that a service manager passes.
const FIRST_PASSED: i32 = 3;

/// Numbers of the copies to pass begin here: the passed ones end before.
const FIRST_COPY: i32 = 100;

/// The manager, and what it keeps.
pub(crate) struct Manager {
    socket: UnixDatagram,
    stored: Vec<(String, OwnedFd)>,
}

impl Manager {
    pub(crate) fn new() -> Result<Self> {
        let socket = UnixDatagram::bind(work().join("notify")).context("cannot bind the notify socket")?;
        socket.set_nonblocking(true).context("cannot make a socket nonblocking")?;
        Ok(Self { socket, stored: Vec::new() })
    }

    /// Starts zcrxd with further arguments of `zcrxd run`, and passes it what is in the store.
    pub(crate) fn start<'a>(&mut self, namespace: &'a Namespace, arguments: &[&str]) -> Result<Daemon<'a>> {
        let mut command = namespace.command("/bin/sh");
        // The process id must be the daemon's own.
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]).arg(program("zcrxd"));
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", work().display()))
            .env("NOTIFY_SOCKET", work().join("notify"))
            .env("FDSTORE", "16");
        let names: Vec<_> = self.stored.iter().map(|(name, _)| name.as_str()).collect();
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        let copies = self.stored.iter().map(|(_, kept)| rustix::io::fcntl_dupfd_cloexec(kept, FIRST_COPY));
        let copies = copies.collect::<Result<Vec<_>, _>>().context("cannot copy a descriptor")?;
        let pass = move || {
            for (number, copy) in (FIRST_PASSED..).zip(&copies) {
                // SAFETY: dup2 may be called after a fork; no code of this process after the fork uses the number.
                if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: the closure only calls dup2, which is async-signal-safe.
        unsafe { command.pre_exec(pass) };
        let daemon = Daemon::start_by(namespace, command, arguments)?;
        self.handle_all()?;
        Ok(daemon)
    }

    /// Ends zcrxd for a restart; returns its log.
    pub(crate) fn end_for_restart(&mut self, daemon: Daemon<'_>) -> Result<String> {
        self.end(daemon, "restart")
    }

    /// Ends zcrxd for good; returns its log.
    pub(crate) fn stop(&mut self, daemon: Daemon<'_>) -> Result<String> {
        self.end(daemon, "stop")
    }

    /// Ends zcrxd as a crash does.
    pub(crate) fn kill(&mut self, daemon: Daemon<'_>) -> Result<()> {
        daemon.kill()?;
        self.handle_all()
    }

    /// Whether there is a descriptor of this name in the store.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        self.stored.iter().any(|(kept, _)| kept == name)
    }

    /// Ends zcrxd as systemd does for a job of this type.
    fn end(&mut self, mut daemon: Daemon<'_>, job: &str) -> Result<String> {
        set_job(job)?;
        daemon.process().signal(libc::SIGTERM)?;
        let status = eventually("zcrxd ends", STEP_LIMIT, || {
            self.handle_all()?;
            daemon.process().ended()
        })?;
        self.handle_all()?;
        let log = daemon.process().stderr();
        ensure!(status.success(), "zcrxd ended with {status}: {log}");
        Ok(log)
    }

    /// Handles all messages that wait.
    fn handle_all(&mut self) -> Result<()> {
        while self.handle()? {}
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    /// Handles the next message; returns whether there was one.
    fn handle(&mut self) -> Result<bool> {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let bytes = match recvmsg(&self.socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error).context("cannot receive a notification"),
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        let text = String::from_utf8_lossy(&text[..bytes]).into_owned();
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        let name = value("FDNAME=").unwrap_or_default();
        if value("FDSTORE=").is_some() {
            self.stored.extend(descriptors.drain(..).map(|descriptor| (name.clone(), descriptor)));
        }
        if value("FDSTOREREMOVE=").is_some() {
            self.stored.retain(|(kept, _)| *kept != name);
        }
        // A barrier is answered by closing its descriptor.
        drop(descriptors);
        Ok(true)
    }
}

/// Sets what `systemctl list-jobs UNIT` prints: a job of this type.
fn set_job(kind: &str) -> Result<()> {
    let path = work().join("systemctl");
    let script = format!("#!/bin/sh\nfor unit; do :; done\necho \"17 $unit {kind} running\"\n");
    fs::write(&path, script).context("cannot write systemctl")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("cannot allow systemctl")
}
