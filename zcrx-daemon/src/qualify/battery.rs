//! The tests, one after another.

mod header_split;
mod interface;
mod killed;
mod large_buffers;
mod registration;
mod restore;
mod soak;
mod starvation;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::peer::{Peer, Transfer};
use super::report::QualifyReport;
use super::target::Target;
use crate::check::Verdict;
use crate::model::{BackendKind, Interface, ReceiveSample};
use crate::net::{self, Flow, Netlink, Wanted};
use crate::receive::{BackendChoice, QueueConfig, ReceiveError, Receiver, SinkConfig};

/// Payload of the large transfer, and number and payload of the small ones, bytes.
const LARGE: u64 = 16 << 20;
const SMALL: (u64, u64) = (32, 100);
/// Limit of one transfer.
const TRANSFER_LIMIT: Duration = Duration::from_mins(3);
/// How long the kernel may take to release a queue.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// Why a battery cannot begin. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum QualifyError {
    /// The interface cannot be read.
    #[error(transparent)]
    Net(#[from] net::NetError),
    /// The peer does not answer.
    #[error("cannot reach the peer at {address}: {source}; run `zcrxd send --serve {address}` there")]
    Peer {
        /// Its address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The queue cannot be tested.
    #[error("{0}")]
    Wanted(#[from] net::WantedError),
    /// zcrxd has prepared the interface already.
    #[error(
        "{0} is already prepared by zcrxd: stop that zcrxd, or run `zcrxd nic restore {0}`, so the test of the restore means something"
    )]
    Prepared(String),
}

/// Why a step ended early.
enum Stop {
    Interrupted,
    Failed(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ReceiveError> for Stop {
    fn from(error: ReceiveError) -> Self {
        Self::Failed(error.to_string())
    }
}

type Step<T = ()> = Result<T, Stop>;

/// A battery that can begin.
pub struct Battery<'a> {
    target: Target,
    peer: Peer,
    here: IpAddr,
    wanted: Wanted,
    before: Interface,
    /// Refusals after which a registration succeeded, other than those of a queue that was still taken.
    refusals: Vec<String>,
    interrupted: &'a AtomicBool,
}

impl<'a> Battery<'a> {
    /// Checks that the battery can begin. Changes nothing.
    pub fn new(target: Target, interrupted: &'a AtomicBool) -> Result<Self, QualifyError> {
        let before = net::interface(&mut Netlink::new(), &target.interface)?;
        let unreachable = |source| QualifyError::Peer { address: target.peer, source };
        let peer = Peer::connect(target.peer).map_err(unreachable)?;
        let here = peer.local_address().map_err(unreachable)?;
        let flow = Flow { ipv6: here.is_ipv6(), port: target.port, queue: Some(target.queue) };
        let wanted = Wanted::new(vec![target.queue], &[flow])?;
        if net::journal_of(&before, &net::directories(None)).is_some() {
            return Err(QualifyError::Prepared(target.interface));
        }
        Ok(Self { target, peer, here, wanted, before, refusals: Vec::new(), interrupted })
    }

    /// The commands that the preparation amounts to, for the announcement.
    pub fn changes(&self) -> Vec<String> {
        net::plan(&self.before, &self.wanted).commands
    }

    /// Runs every test and restores the interface, whatever happens in between.
    pub fn run(mut self) -> QualifyReport {
        let mut report = QualifyReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .ok()
                .map(|release| release.trim().to_owned()),
            interface: self.target.interface.clone(),
            queue: self.target.queue,
            driver: self.before.driver.known().cloned(),
            tests: Vec::new(),
            restart: None,
            moved_counters: Vec::new(),
            interrupted: false,
        };
        let directories = net::directories(None);
        match net::prepare(&self.target.interface, &self.wanted, &directories) {
            Ok(steps) => {
                let commands: Vec<_> =
                    steps.iter().map(|step| step.command(&self.target.interface)).collect();
                report.add("prepare", Verdict::Pass, describe_steps(&commands));
                self.tests(&mut report);
            }
            Err(error) => report.add("prepare", Verdict::Fail, error.to_string()),
        }
        self.restore(&mut report);
        report
    }

    fn tests(&mut self, report: &mut QualifyReport) {
        type Test<'t> = fn(&mut Battery<'t>, &mut QualifyReport) -> Step;
        let tests: [(&str, Test<'a>); 9] = [
            ("registration", Self::registration),
            ("zero_copy", Self::zero_copy),
            ("small_packets", Self::small_packets),
            ("header_split", Self::header_split),
            ("large_buffers", Self::large_buffers),
            ("starvation", Self::starvation),
            ("killed_owner", Self::killed_owner),
            ("interface_down", Self::interface_down),
            ("soak", Self::soak),
        ];
        for (name, test) in tests {
            match test(self, report) {
                Ok(()) => {}
                Err(Stop::Failed(why)) => report.add(name, Verdict::Fail, why),
                Err(Stop::Interrupted) => {
                    report.interrupted = true;
                    return;
                }
            }
        }
    }

    /// A large transfer arrives, unchanged and not copied.
    fn zero_copy(&mut self, report: &mut QualifyReport) -> Step {
        let receiver = self.receive(&SinkConfig::Verify)?;
        self.transfer(LARGE, 1, true)?;
        let sample = self.settle(&receiver)?;
        drop(receiver);
        judge(report, "zero_copy", &sample, LARGE, "");
        let misplaced = sample.ring.map_or(0, |ring| ring.misplaced);
        let verdict = if misplaced == 0 { Verdict::Pass } else { Verdict::Fail };
        report.add("steering", verdict, format!("{misplaced} connections arrived on another queue"));
        Ok(())
    }

    /// Packets with little payload arrive, unchanged and not copied.
    fn small_packets(&mut self, report: &mut QualifyReport) -> Step {
        let (count, bytes) = SMALL;
        let receiver = self.receive(&SinkConfig::Verify)?;
        for seed in 0..count {
            self.transfer(bytes, seed, true)?;
        }
        let sample = self.settle(&receiver)?;
        drop(receiver);
        judge(report, "small_packets", &sample, count * bytes, "");
        Ok(())
    }

    fn config(&self, sink: SinkConfig) -> QueueConfig {
        let area_bytes = self.area_bytes();
        QueueConfig {
            interface: Some(self.target.interface.clone()),
            queue: self.target.queue,
            backend: BackendChoice::Only(BackendKind::Device),
            area_bytes,
            // A sink that takes nothing holds the whole area.
            hold_limit_bytes: Some(area_bytes),
            copy_out_bytes: 0,
            drain_timeout: Duration::from_millis(100),
            sink,
            ..QueueConfig::new(vec![SocketAddr::new(self.here, self.target.port)])
        }
    }

    /// Four times the receive ring, since some drivers drop everything when the area fits into the ring.
    fn area_bytes(&self) -> u64 {
        let rings = self.before.setup.rings.known();
        let ring = rings.and_then(crate::model::Rings::payload).unwrap_or(1024);
        (4 * u64::from(ring) * procfs::page_size()).clamp(4 << 20, 64 << 20)
    }

    /// Has the peer send, and waits for its word.
    fn transfer(&mut self, bytes: u64, seed: u64, verified: bool) -> Step {
        self.peer.ask(Transfer { port: self.target.port, bytes, seed, verified })?;
        match self.wait(TRANSFER_LIMIT, |battery| Ok(battery.peer.outcome()?))? {
            Some(Ok(())) => Ok(()),
            Some(Err(why)) => Err(Stop::Failed(format!("{bytes} bytes did not arrive: {why}"))),
            None => Err(Stop::Failed(format!("{bytes} bytes did not arrive within {TRANSFER_LIMIT:?}"))),
        }
    }

    /// The receiver's counters once its connections are closed and its buffers returned.
    fn settle(&mut self, receiver: &Receiver) -> Step<ReceiveSample> {
        let settled = self.wait(TRANSFER_LIMIT, |_| {
            Ok(sample_of(receiver).filter(|sample| sample.connections == 0 && sample.held() == 0))
        })?;
        settled.ok_or_else(|| Stop::Failed("buffers were not returned".to_owned()))
    }

    /// Polls until `ready` returns a value; `None` after the limit.
    fn wait<T>(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut(&mut Self) -> Step<Option<T>>,
    ) -> Step<Option<T>> {
        let end = Instant::now() + limit;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            if let Some(value) = ready(self)? {
                return Ok(Some(value));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }
}

fn sample_of(receiver: &Receiver) -> Option<ReceiveSample> {
    receiver.sample().pop()
}

/// Skips a test of the queue if connections arrive on another one; returns whether it did.
fn skips_for_steering(report: &mut QualifyReport, test: &str) -> bool {
    let misplaced = report.tests.iter().any(|test| test.name == "steering" && test.verdict == Verdict::Fail);
    if misplaced {
        report.add(test, Verdict::Skip, "unknown: the connections arrive on another queue");
    }
    misplaced
}

fn describe_steps(commands: &[String]) -> String {
    if commands.is_empty() { "nothing to change".to_owned() } else { commands.join("; ") }
}

/// Judges a transfer that arrived: unchanged, and without a copy as far as the kernel counts.
fn judge(report: &mut QualifyReport, name: &str, sample: &ReceiveSample, bytes: u64, note: &str) {
    let (verified, wrong) = (sample.verified_bytes, sample.mismatched_bytes);
    let copied = sample.copied_bytes;
    let verdict = if wrong > 0 || verified != bytes || copied.is_some_and(|copied| copied > 0) {
        Verdict::Fail
    } else if copied.is_none() {
        Verdict::Warn
    } else {
        Verdict::Pass
    };
    let copied = copied.map_or_else(
        || "copies are not counted by this kernel (Linux 7.2 counts them)".to_owned(),
        |copied| format!("{copied} copied"),
    );
    report.add(name, verdict, format!("{verified} of {bytes} bytes verified, {wrong} wrong, {copied}{note}"));
}
