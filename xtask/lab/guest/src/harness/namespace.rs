//! Network namespaces: the two ends of the wire are two hosts.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

/// A network namespace that lives as long as this or a process in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    file: OwnedFd,
}

impl Namespace {
    /// Makes an empty one, with its loopback up.
    pub(crate) fn create() -> Result<Self> {
        let made = std::thread::spawn(|| -> Result<OwnedFd> {
            // SAFETY: unshare takes no pointers; it moves this short-lived thread alone.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                return Err(io::Error::last_os_error()).context("cannot make a network namespace");
            }
            super::link_up("lo")?;
            Ok(File::open("/proc/thread-self/ns/net").context("cannot open a network namespace")?.into())
        });
        let file =
            made.join().map_err(|_| anyhow!("the thread that makes a network namespace panicked"))??;
        Ok(Self { file })
    }

    /// The one that this program runs in.
    pub(crate) fn own() -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net").context("cannot open the network namespace")?;
        Ok(Self { file: file.into() })
    }

    /// A program that will run in it.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        let file = self.file.as_raw_fd();
        // SAFETY: between fork and exec only setns is called, which is async-signal-safe; the descriptor is still open
        // in the child because it closes on exec, not on fork.
        unsafe {
            command.pre_exec(move || match libc::setns(file, libc::CLONE_NEWNET) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        command
    }

    /// Runs a program in it to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        super::output(self.command(program).args(arguments))
    }

    /// Calls a function in it.
    pub(crate) fn enter<T: Send>(&self, call: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: setns moves this short-lived thread alone; the descriptor is a network namespace's.
                if unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    return Err(io::Error::last_os_error()).context("cannot enter a network namespace");
                }
                call()
            });
            inside.join().map_err(|_| anyhow!("a thread in a network namespace panicked"))?
        })
    }

    /// Moves an interface of the current namespace into it.
    pub(crate) fn adopt(&self, interface: &str) -> Result<()> {
        // The descriptor is inherited by name: /proc of the parent is still there for the child.
        super::output(Command::new("ip").args(["link", "set", interface, "netns", &self.path()])).map(drop)
    }

    /// A path by which a program in any namespace can name it.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}
