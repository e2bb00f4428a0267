//! Instructions per completion of receive loops, and what probes add to them.

mod each_probe;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::instructions::{
    figure, median, of_daemon_without_samples, of_machine, of_process, require_counting,
};
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::scenario::Scenario;
use crate::harness::{eventually, program};

/// The scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RECEIVE, COPY, PROBES];

/// Transfers that count; one before them does not.
pub(super) const TRANSFERS: usize = 3;
/// Bytes of a transfer over all its connections together.
const BYTES: usize = 32 << 20;
/// The area holds more than a transfer, so that no receive loop can be too slow for the sender.
const AREA: &str = "64MiB";
const AREA_BUFFERS: &str = "16384";
/// How long one transfer may take.
const LIMIT: Duration = Duration::from_mins(5);

/// The receive loops.
const RECEIVE: Scenario = Scenario {
    name: "cost-receive",
    about: "instructions per completion: the bare loop and zcrxd, one connection and sixteen (bench)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 1800,
    default: false,
    run: || {
        require_counting()?;
        loops(TRANSFERS)
    },
};

/// The copy backend.
const COPY: Scenario = Scenario {
    name: "cost-copy",
    about: "instructions per KiB of ordinary receives: epoll and read, and zcrxd's copy backend (bench)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 1800,
    default: false,
    run: || {
        require_counting()?;
        copies(TRANSFERS)
    },
};

/// The probes.
const PROBES: Scenario = Scenario {
    name: "cost-probes",
    about: "instructions per completion of another program's receive loop, with no probe and with the default probes (bench)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 1800,
    default: false,
    run: || {
        require_counting()?;
        probes(TRANSFERS)
    },
};

/// A program that receives.
pub(super) trait Receiver {
    /// Returns the instructions that it has run so far for receiving.
    fn ran(&mut self) -> Result<u64>;
    /// Returns the completions with data so far, or the bytes where there are no completions.
    fn received(&mut self) -> Result<u64>;
}

/// One of the faulty application's loops.
struct Bare {
    process: Process,
    /// What it counts.
    counts: &'static str,
}

impl Bare {
    /// Starts the bare loop on zcrx.
    fn start(nic: &Nic) -> Result<Self> {
        let queue = nic::QUEUE.to_string();
        let mut arguments = vec!["bare", "--interface", nic::RX, "--queue", &queue, "--cq-entries", "8192"];
        arguments.extend(["--area-buffers", AREA_BUFFERS, "--refill-entries", AREA_BUFFERS]);
        Self::run(nic, "completions", &arguments)
    }

    /// Receives one transfer; returns how many completions that took.
    fn transfer(&mut self, nic: &Nic) -> Result<f64> {
        let before = self.received()?;
        nic.tx.enter(|| send(&Nic::address(), 1))?;
        let received = || Ok(Some(self.received()? - before).filter(|received| *received > 0));
        eventually("the receiver has counted what came", LIMIT, received).map(|received| received as f64)
    }

    fn end(self) -> Result<()> {
        self.process.kill()
    }

    /// Starts the loop on epoll.
    fn epoll(nic: &Nic) -> Result<Self> {
        Self::run(nic, "bytes", &["epoll"])
    }

    fn run(nic: &Nic, counts: &'static str, arguments: &[&str]) -> Result<Self> {
        let mut command = nic.rx.command(program("faulty-app"));
        command.args(arguments).args(["--listen", &Nic::address()]);
        let mut bare = Self { process: Process::start(arguments[0], &mut command)?, counts };
        eventually("the loop listens", LIMIT, || {
            bare.process.alive()?;
            Ok((!bare.process.stdout().is_empty()).then_some(()))
        })?;
        Ok(bare)
    }
}

impl Receiver for Bare {
    fn ran(&mut self) -> Result<u64> {
        of_process(self.process.id())
    }

    fn received(&mut self) -> Result<u64> {
        self.process.alive()?;
        let printed = self.process.stdout();
        let last: Value = serde_json::from_str(printed.lines().last().unwrap_or_default())?;
        last[self.counts].as_u64().with_context(|| format!("the loop prints its {}", self.counts))
    }
}

impl Receiver for Daemon<'_> {
    fn ran(&mut self) -> Result<u64> {
        of_daemon_without_samples(self.process().id())
    }

    fn received(&mut self) -> Result<u64> {
        self.metrics()?.count("zcrxd_receiver_completions_total")
    }
}

/// zcrxd by its bytes: buffers of a copy have no fixed payload.
struct CopyDaemon<'a>(Daemon<'a>);

impl Receiver for CopyDaemon<'_> {
    fn ran(&mut self) -> Result<u64> {
        self.0.ran()
    }

    fn received(&mut self) -> Result<u64> {
        self.0.metrics()?.count("zcrxd_receiver_received_bytes_total")
    }
}

/// Instructions per completion, or per byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    receiver: f64,
    machine: f64,
}

impl Cost {
    fn times(self, factor: f64) -> Self {
        Self { receiver: self.receiver * factor, machine: self.machine * factor }
    }
}

/// The bare loop, and zcrxd with its sinks.
fn loops(transfers: usize) -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    for connections in [1, 16] {
        let mut bare = Bare::start(&nic)?;
        keep(
            &format!("receive/bare/{connections}"),
            measure(&nic, &mut bare, connections, transfers, None)?,
        )?;
        bare.process.kill()?;
        for (name, further) in [
            ("discard", ["--sink", "discard"].as_slice()),
            ("discard-2-workers", &["--sink", "discard", "--workers", "2"]),
        ] {
            let mut daemon = zcrxd(&nic, further)?;
            let cost = measure(&nic, &mut daemon, connections, transfers, None)?;
            keep(&format!("receive/{name}/{connections}"), cost)?;
            daemon.stop()?;
        }
    }
    Ok(())
}

/// Measures ordinary receives, per KiB.
fn copies(transfers: usize) -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    for connections in [1, 16] {
        let mut epoll = Bare::epoll(&nic)?;
        let cost = measure(&nic, &mut epoll, connections, transfers, None)?;
        keep(&format!("copy/epoll/{connections}"), cost.times(1024.0))?;
        epoll.process.kill()?;
        let listen = Nic::address();
        let arguments =
            ["--listen", &listen, "--backend", "copy", "--area", AREA, "--no-probes", "--sink", "discard"];
        let mut daemon = CopyDaemon(Daemon::start(&nic.rx, &arguments)?);
        let cost = measure(&nic, &mut daemon, connections, transfers, None)?;
        keep(&format!("copy/zcrxd/{connections}"), cost.times(1024.0))?;
        daemon.0.stop()?;
    }
    Ok(())
}

/// The bare loop with and without probes.
fn probes(transfers: usize) -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    keep("probes/none", bare(&nic, transfers, None)?)?;
    for mechanism in ["fexit", "kretprobe", "kprobe-multi"] {
        let mut daemon = Daemon::start(&nic.rx, &["--probe-mechanism", mechanism])?;
        let observer = daemon.process().id();
        keep(&format!("probes/{mechanism}"), bare(&nic, transfers, Some(observer))?)?;
        daemon.stop()?;
    }
    each_probe::measure(&nic, transfers)
}

/// Measures what is gated: the loops with one connection, and the default probes.
pub(super) fn gates() -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    keep("receive/bare/1", bare(&nic, TRANSFERS, None)?)?;
    let mut daemon = zcrxd(&nic, &["--sink", "discard"])?;
    keep("receive/discard/1", measure(&nic, &mut daemon, 1, TRANSFERS, None)?)?;
    daemon.stop()?;
    let mut daemon = Daemon::start(&nic.rx, &["--probe-mechanism", "fexit"])?;
    let observer = daemon.process().id();
    keep("probes/fexit", bare(&nic, TRANSFERS, Some(observer))?)?;
    daemon.stop().map(drop)
}

fn bare(nic: &Nic, transfers: usize, observer: Option<u32>) -> Result<Cost> {
    let mut bare = Bare::start(nic)?;
    let cost = measure(nic, &mut bare, 1, transfers, observer)?;
    bare.process.kill()?;
    Ok(cost)
}

pub(super) fn zcrxd<'a>(nic: &'a Nic, further: &[&str]) -> Result<Daemon<'a>> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device", "--area", AREA, "--no-probes"]);
    arguments.extend(further);
    Daemon::start(&nic.rx, &arguments)
}

pub(super) fn keep(name: &str, cost: Cost) -> Result<()> {
    figure(&format!("{name}/receiver"), cost.receiver)?;
    figure(&format!("{name}/machine"), cost.machine)
}

/// Returns the median of several transfers; the first of all warms up and does not count. The instructions of `observer`, a
/// process, do not belong to the machine's.
pub(super) fn measure(
    nic: &Nic,
    receiver: &mut impl Receiver,
    connections: usize,
    transfers: usize,
    observer: Option<u32>,
) -> Result<Cost> {
    let machine = || Ok::<_, anyhow::Error>(of_machine()? - observer.map_or(Ok(0), of_process)?);
    let mut costs = Vec::new();
    for _ in 0..=transfers {
        let before = receiver.received()?;
        let resent = nic.segments_resent()?;
        let (ran, all) = (receiver.ran()?, machine()?);
        let address = Nic::address();
        nic.tx.enter(|| send(&address, connections))?;
        let all = machine()? - all;
        let ran = receiver.ran()? - ran;
        ensure!(nic.segments_resent()? == resent, "segments were sent twice: the figures would mean nothing");
        let received = eventually("the receiver has counted what came", LIMIT, || {
            Ok(Some(receiver.received()? - before).filter(|received| *received > 0))
        })? as f64;
        costs.push(Cost { receiver: ran as f64 / received, machine: all as f64 / received });
    }
    costs.remove(0);
    let of = |part: fn(&Cost) -> f64| median(costs.iter().map(part).collect()).context("no transfer counted");
    Ok(Cost { receiver: of(|cost| cost.receiver)?, machine: of(|cost| cost.machine)? })
}

/// Sends over that many connections at a time and waits until the receiver has closed each.
fn send(to: &str, connections: usize) -> Result<()> {
    let data = vec![0; BYTES / connections];
    thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(|| stream(to, &data))).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?)
    })
}

fn stream(to: &str, data: &[u8]) -> Result<()> {
    let mut stream = TcpStream::connect(to).context("cannot connect")?;
    stream.set_read_timeout(Some(LIMIT)).context("cannot limit a read")?;
    stream.set_write_timeout(Some(LIMIT)).context("cannot limit a write")?;
    stream.write_all(data).context("cannot send")?;
    stream.shutdown(Shutdown::Write).context("cannot end the stream")?;
    stream.read_to_end(&mut Vec::new()).context("the other end does not close").map(drop)
}
