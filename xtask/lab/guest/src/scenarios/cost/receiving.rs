//! Instructions per completion of receive loops, and what probes add to them.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::instructions::{self, figure, median, require_counting};
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::scenario::Scenario;
use crate::harness::{eventually, program};

/// The scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[RECEIVE, PROBES];

/// Transfers that count; one before them does not.
const TRANSFERS: usize = 3;
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
    about: "instructions per completion: the bare loop, and zcrxd with each sink, one connection and sixteen (bench)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic],
    proves: &[],
    limit: 1800,
    default: false,
    run: || {
        require_counting()?;
        loops(TRANSFERS)
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
trait Receiver {
    /// Its process.
    fn pid(&mut self) -> u32;
    /// Completions with data so far.
    fn completions(&mut self) -> Result<u64>;
}

/// The faulty application's bare loop.
struct Bare(Process);

impl Bare {
    fn start(nic: &Nic) -> Result<Self> {
        let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
        let mut command = nic.rx.command(program("faulty-app"));
        command.args(["bare", "--interface", nic::RX, "--queue", &queue, "--listen", &listen]);
        command.args([
            "--area-buffers",
            AREA_BUFFERS,
            "--refill-entries",
            AREA_BUFFERS,
            "--cq-entries",
            "8192",
        ]);
        let mut bare = Self(Process::start("bare", &mut command)?);
        eventually("the bare loop is registered", LIMIT, || {
            bare.0.alive()?;
            Ok((!bare.0.stdout().is_empty()).then_some(()))
        })?;
        Ok(bare)
    }
}

impl Receiver for Bare {
    fn pid(&mut self) -> u32 {
        self.0.id()
    }

    fn completions(&mut self) -> Result<u64> {
        self.0.alive()?;
        let said = self.0.stdout();
        let last: Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        last["completions"].as_u64().context("the bare loop says how many completions it has had")
    }
}

impl Receiver for Daemon<'_> {
    fn pid(&mut self) -> u32 {
        self.process().id()
    }

    fn completions(&mut self) -> Result<u64> {
        self.metrics()?.count("zcrxd_receiver_completions_total")
    }
}

/// Instructions per completion.
#[derive(Clone, Copy, Debug)]
struct Cost {
    receiver: f64,
    machine: f64,
}

/// The bare loop, and zcrxd with its sinks.
fn loops(transfers: usize) -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    for connections in [1, 16] {
        let mut bare = Bare::start(&nic)?;
        keep(&format!("receive/bare/{connections}"), measure(&nic, &mut bare, connections, transfers)?)?;
        bare.0.kill()?;
        for (name, further) in [
            ("discard", ["--sink", "discard"].as_slice()),
            ("discard-2-workers", &["--sink", "discard", "--workers", "2"]),
            ("verify", &["--sink", "verify"]),
        ] {
            let mut daemon = zcrxd(&nic, further)?;
            let cost = measure(&nic, &mut daemon, connections, transfers)?;
            keep(&format!("receive/{name}/{connections}"), cost)?;
            daemon.stop()?;
        }
    }
    Ok(())
}

/// The bare loop with and without probes.
fn probes(transfers: usize) -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    keep("probes/none", bare(&nic, transfers)?)?;
    for mechanism in ["fexit", "kretprobe", "kprobe-multi"] {
        let daemon = Daemon::start(&nic.rx, &["--probe-mechanism", mechanism])?;
        keep(&format!("probes/{mechanism}"), bare(&nic, transfers)?)?;
        daemon.stop()?;
    }
    Ok(())
}

/// The loop and the default probes, once each.
pub(super) fn gates() -> Result<()> {
    let nic = Nic::pair()?;
    nic.patient_sender()?;
    keep("receive/bare/1", bare(&nic, 1)?)?;
    let mut daemon = zcrxd(&nic, &["--sink", "discard"])?;
    keep("receive/discard/1", measure(&nic, &mut daemon, 1, 1)?)?;
    daemon.stop()?;
    let daemon = Daemon::start(&nic.rx, &[])?;
    keep("probes/default", bare(&nic, 1)?)?;
    daemon.stop().map(drop)
}

fn bare(nic: &Nic, transfers: usize) -> Result<Cost> {
    let mut bare = Bare::start(nic)?;
    let cost = measure(nic, &mut bare, 1, transfers)?;
    bare.0.kill()?;
    Ok(cost)
}

fn zcrxd<'a>(nic: &'a Nic, further: &[&str]) -> Result<Daemon<'a>> {
    let (listen, queue) = (Nic::address(), nic::QUEUE.to_string());
    let mut arguments = vec!["--listen", &listen, "--interface", nic::RX, "--queue", &queue];
    arguments.extend(["--backend", "device", "--area", AREA, "--no-probes"]);
    arguments.extend(further);
    Daemon::start(&nic.rx, &arguments)
}

fn keep(name: &str, cost: Cost) -> Result<()> {
    figure(&format!("{name}/receiver"), cost.receiver)?;
    figure(&format!("{name}/machine"), cost.machine)
}

/// The median of several transfers; the first of all warms up and does not count.
fn measure(nic: &Nic, receiver: &mut impl Receiver, connections: usize, transfers: usize) -> Result<Cost> {
    let mut costs = Vec::new();
    for _ in 0..=transfers {
        let (pid, completions) = (receiver.pid(), receiver.completions()?);
        let resent = nic.segments_resent()?;
        let (ran, machine) = (instructions::of_process(pid)?, instructions::of_machine()?);
        let address = Nic::address();
        nic.tx.enter(|| send(&address, connections))?;
        let machine = instructions::of_machine()? - machine;
        let ran = instructions::of_process(pid)? - ran;
        ensure!(nic.segments_resent()? == resent, "segments were sent twice: the figures would mean nothing");
        let received = eventually("the receiver has counted the completions", LIMIT, || {
            Ok(Some(receiver.completions()? - completions).filter(|received| *received > 0))
        })? as f64;
        costs.push(Cost { receiver: ran as f64 / received, machine: machine as f64 / received });
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
