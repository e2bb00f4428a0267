//! A service manager with a file descriptor store, as systemd is one: for what one start of zcrxd leaves to the next.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::harness::{Daemon, Outcome, TestDirectory, WAIT_LIMIT};

/// Most descriptors in one message.
const MOST_DESCRIPTORS: usize = 16;

/// First number of the descriptors that a service manager passes.
const FIRST_PASSED: i32 = 3;

/// The manager, and what it keeps.
pub(crate) struct ServiceManager {
    place: TestDirectory,
    socket: UnixDatagram,
    /// Names and descriptors in the store.
    pub(crate) stored: Vec<(String, OwnedFd)>,
    args: Vec<String>,
}

impl ServiceManager {
    /// A manager whose service is `zcrxd run` with these arguments.
    pub(crate) fn new(name: &str, args: &[&str]) -> Outcome<Self> {
        let place = TestDirectory::new(name)?;
        let socket = UnixDatagram::bind(place.path().join("notify"))?;
        let args = args.iter().map(ToString::to_string).collect();
        Ok(Self { place, socket, stored: Vec::new(), args })
    }

    /// Writes the service's configuration.
    pub(crate) fn configure(&mut self, text: &str) -> Outcome {
        let file = self.place.file("zcrxd.toml", text)?;
        self.args = vec!["--config".to_owned(), file];
        Ok(())
    }

    /// Starts the service and passes it what is in the store.
    pub(crate) fn start(&mut self) -> Outcome<Daemon> {
        let dir = self.place.path().join("run").display().to_string();
        let binary = env!("CARGO_BIN_EXE_zcrxd");
        let mut command = Command::new("sh");
        // The process id must be the daemon's own.
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh", binary, "run", "--no-probes"]);
        command.args(["--runtime-dir", &dir, "--web.listen-address", "127.0.0.1:0"]).args(&self.args);
        let path = std::env::var("PATH").unwrap_or_default();
        let names: Vec<_> = self.stored.iter().map(|(name, _)| name.as_str()).collect();
        command
            .env_remove("RUST_LOG")
            .env("PATH", format!("{}:{path}", self.place.path().display()))
            .env("NOTIFY_SOCKET", self.place.path().join("notify"))
            .env("FDSTORE", "16");
        if !names.is_empty() {
            command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        }
        // Copies with numbers that the passed ones do not take.
        let copies = self.stored.iter().map(|(_, kept)| rustix::io::fcntl_dupfd_cloexec(kept, 100));
        let copies = copies.collect::<Result<Vec<_>, _>>()?;
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
        let daemon = Daemon::spawn(command, TestDirectory::new(&format!("{}-of-it", self.name()))?)?;
        self.wait_for("READY=1")?;
        Ok(daemon)
    }

    fn name(&self) -> String {
        let name = self.place.path().file_name().map(|name| name.to_string_lossy().into_owned());
        name.unwrap_or_default()
    }

    /// What `systemctl list-jobs` says from now on: the service has a job of this type.
    pub(crate) fn set_job(&self, kind: &str) -> Outcome {
        let script = format!("#!/bin/sh\nfor unit; do :; done\necho \"17 $unit {kind} running\"\n");
        let path = self.place.path().join("systemctl");
        std::fs::write(&path, script)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Ends the service as systemd does for a job of this type; gives all that it said.
    pub(crate) fn end(&mut self, daemon: Daemon, job: &str) -> Outcome<String> {
        self.set_job(job)?;
        daemon.signal(Signal::SIGTERM)?;
        let waiting = std::thread::spawn(move || daemon.wait().map_err(|error| error.to_string()));
        while !waiting.is_finished() {
            self.handle(Duration::from_millis(20))?;
        }
        let (status, said) = waiting.join().map_err(|_| "a thread panicked")??;
        assert_eq!(status.code(), Some(0), "{said}");
        while self.handle(Duration::from_millis(1))?.is_some() {}
        Ok(said)
    }

    /// Names in the store.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.stored.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Handles messages until one has this line.
    pub(crate) fn wait_for(&mut self, line: &str) -> Outcome {
        loop {
            match self.handle(WAIT_LIMIT)? {
                Some(text) if text.lines().any(|found| found == line) => return Ok(()),
                Some(_) => {}
                None => return Err(format!("never received {line}").into()),
            }
        }
    }

    /// Handles the next message; `None` if none comes in time.
    fn handle(&mut self, limit: Duration) -> Outcome<Option<String>> {
        self.socket.set_read_timeout(Some(limit))?;
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let received = match recvmsg(self.socket.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut descriptors = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(passed) = message {
                descriptors.extend(passed);
            }
        }
        let text = String::from_utf8(text[..received].to_vec())?;
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
        Ok(Some(text))
    }
}
