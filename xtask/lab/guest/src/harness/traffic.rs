//! Test traffic: `zcrxd send`, whose bytes the receiving end verifies.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::namespace::Namespace;
use super::process::Process;
use super::program;

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Traffic {
    process: Process,
}

impl Traffic {
    /// Starts to send.
    pub(crate) fn start(from: &Namespace, to: &str, bytes: u64, arguments: &[&str]) -> Result<Self> {
        let mut command = from.command(program("zcrxd"));
        command.args(["send", "--to", to, "--bytes", &bytes.to_string()]).args(arguments);
        Ok(Self { process: Process::start("send", &mut command)? })
    }

    /// Whether the transfer is still running.
    pub(crate) fn running(&mut self) -> Result<bool> {
        self.process.ended().map(|ended| ended.is_none())
    }

    /// Waits until the receiver has verified everything. Fails otherwise.
    pub(crate) fn finish(self, limit: Duration) -> Result<String> {
        self.process.finish(limit)
    }

    /// Kills the sender, unless it has ended because its receiver is gone.
    pub(crate) fn abandon(mut self) -> Result<()> {
        if self.process.ended()?.is_some() {
            return Ok(());
        }
        self.process.signal(libc::SIGKILL)?;
        self.process.wait(Duration::from_secs(30)).map(drop)
    }
}

/// Closes a connection with a reset.
pub(crate) fn reset(stream: TcpStream) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the size is that of the option, and the descriptor is open.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    ensure!(result == 0, "cannot make a close a reset: {}", std::io::Error::last_os_error());
    drop(stream);
    Ok(())
}
