//! Kills the owner of the queue while buffers are in use.

use std::fs::{DirBuilder, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{Battery, RELEASE_LIMIT, SMALL, Step, Stop, TRANSFER_LIMIT, skips_for_steering};
use crate::check::Verdict;
use crate::qualify::consumer::Consumer;
use crate::qualify::peer::Transfer;
use crate::qualify::report::QualifyReport;
use crate::receive::SinkConfig;

impl Battery<'_> {
    /// Another zcrxd owns the queue, holds buffers and is killed: the kernel has to release the queue, and it has to receive again.
    pub(super) fn killed_owner(&mut self, report: &mut QualifyReport) -> Step {
        const NAME: &str = "killed_owner";
        if skips_for_steering(report, NAME) {
            return Ok(());
        }
        let consumer = Consumer::start()?;
        let owner = Owner::start(self, &consumer)?;
        self.peer.ask(Transfer {
            port: self.target.port,
            bytes: self.area_bytes(),
            seed: 1,
            verified: false,
        })?;
        let holds = self.wait(TRANSFER_LIMIT, |_| Ok(consumer.has_data().then_some(())))?;
        drop(owner);
        holds.ok_or_else(|| Stop::Failed("nothing arrived at the owner".to_owned()))?;
        let begun = Instant::now();
        let receiver = self.receive(&SinkConfig::Verify)?;
        let after = begun.elapsed().as_millis();
        // That transfer fails with its connection.
        self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))?;
        self.transfer(SMALL.1, 1, true)?;
        let sample = self.settle(&receiver)?;
        drop(receiver);
        let is_right = sample.verified_bytes == SMALL.1 && sample.mismatched_bytes == 0;
        let verdict = if is_right { Verdict::Pass } else { Verdict::Fail };
        let received = if is_right { "receives" } else { "receives wrong data" };
        let found =
            format!("registers {after} ms after its owner was killed with buffers in use, and {received}");
        report.add(NAME, verdict, found);
        Ok(())
    }
}

/// Its log, in its directory.
const LOG: &str = "log";

/// A process with the queue, killed when it is dropped.
struct Owner {
    process: Child,
    directory: PathBuf,
}

impl Owner {
    /// Starts one that forwards to a consumer which takes nothing, and waits until it listens.
    fn start(battery: &mut Battery<'_>, consumer: &Consumer) -> Step<Self> {
        let directory = std::env::temp_dir().join(format!("zcrxd-qualify-{}", std::process::id()));
        // Fails if it exists: another user could have made it.
        DirBuilder::new().mode(0o700).create(&directory)?;
        let listen = SocketAddr::new(battery.here, battery.target.port);
        let area = battery.area_bytes().to_string();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["run", "--no-probes", "--backend", "device", "--interface", &battery.target.interface]);
        command.args(["--queue", &battery.target.queue.to_string(), "--listen", &listen.to_string()]);
        command.args(["--area", &area, "--hold-limit", &area, "--copy-out", "0"]);
        command.arg("--sink").arg(format!("forward:unix:{}", consumer.path().display()));
        command.arg("--web.listen-address").arg(format!("unix:{}", directory.join("web.sock").display()));
        command.arg("--runtime-dir").arg(&directory).arg("--recordings.directory").arg(&directory);
        let log = File::create(directory.join(LOG))?;
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let mut owner = Self { process, directory };
        // Its first registration may meet the end of the last one.
        let listens = battery.wait(2 * RELEASE_LIMIT, |_| owner.listens(listen))?;
        match listens {
            Some(()) => Ok(owner),
            None => Err(Stop::Failed(format!(
                "another zcrxd does not listen on {listen}: {}",
                owner.last_words()
            ))),
        }
    }

    fn listens(&mut self, listen: SocketAddr) -> Step<Option<()>> {
        if let Some(status) = self.process.try_wait()? {
            let words = self.last_words();
            return Err(Stop::Failed(format!("another zcrxd cannot take the queue ({status}): {words}")));
        }
        Ok(TcpStream::connect(listen).ok().map(drop))
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
        log.lines().next_back().unwrap_or("it logged nothing").to_owned()
    }

    fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // One that has ended need not be killed, and what it leaves is in a directory for temporary files.
        self.kill().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}
