//! Test traffic: `zcrxd send`, whose bytes the receiving end verifies.

use std::time::Duration;

use anyhow::Result;

use super::namespace::Namespace;
use super::process::Process;
use super::program;

/// A transfer under way.
#[derive(Debug)]
pub(crate) struct Traffic {
    process: Process,
}

impl Traffic {
    /// Begins to send.
    pub(crate) fn start(from: &Namespace, to: &str, bytes: u64, arguments: &[&str]) -> Result<Self> {
        let mut command = from.command(program("zcrxd"));
        command.args(["send", "--to", to, "--bytes", &bytes.to_string()]).args(arguments);
        Ok(Self { process: Process::start("send", &mut command)? })
    }

    /// Whether it is still under way.
    pub(crate) fn running(&mut self) -> Result<bool> {
        self.process.ended().map(|ended| ended.is_none())
    }

    /// Waits until all is sent and verified by the receiver; fails if it is not.
    pub(crate) fn finish(self, limit: Duration) -> Result<String> {
        self.process.finish(limit)
    }

    /// Ends it, unless it has ended by itself because its receiver is gone.
    pub(crate) fn abandon(mut self) -> Result<()> {
        if self.process.ended()?.is_some() {
            return Ok(());
        }
        self.process.signal(libc::SIGKILL)?;
        self.process.wait(Duration::from_secs(30)).map(drop)
    }
}
