//! Interruptions amid many connections: the receiver is stopped, killed and started again, and the NIC's driver is reloaded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::Need;

use super::destinations::{Ledger, over_tcp, over_unix};
use super::ledger;
use super::senders::{Senders, Sent};
use super::{QUEUES, Queue, configuration, seed, steer, write_configuration};
use crate::harness::STEP_LIMIT;
use crate::harness::daemon::Daemon;
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::{kernel_agrees, settled};
use crate::harness::scenario::Scenario;
use crate::harness::work;

/// Threads that send, one connection each at a time.
const SENDERS: u32 = 240;
/// Connections that are open when something happens.
const OPEN: f64 = 200.0;
/// How long it may take to open them, and to begin again after an interruption.
const BUSY_LIMIT: Duration = Duration::from_mins(3);

pub(super) const INTERRUPTED: Scenario = Scenario {
    name: "receive-interrupted",
    about: "amid 200 connections whose bytes are checked, zcrxd is restarted (SIGTERM), killed (SIGKILL), and the NIC's driver \
            is reloaded, twice each: the bytes acknowledged to a sender are those that its destination got and those that \
            zcrxd logs as lost; after a kill this holds for each connection that was not open then",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 1800,
    default: false,
    run: || run(seed()),
};

/// What ends or breaks the receiver.
#[derive(Clone, Copy, Debug)]
enum Interruption {
    Restart,
    DriverReload,
    Kill,
}

/// A life of the receiver that ended with a kill.
#[derive(Clone, Copy, Debug)]
struct Killed {
    began: Instant,
    ended: Instant,
}

fn run(seed: u64) -> Result<()> {
    use Interruption::{DriverReload, Kill, Restart};
    let nic = Nic::with(&parameters())?;
    steer(&nic)?;
    let ledger = Arc::new(Ledger::default());
    let (socket, files) = (work().join("destination.sock"), work().join("files"));
    let port = over_tcp(&nic.rx, seed, QUEUES, &ledger)?;
    over_unix(&socket, seed, QUEUES, &ledger)?;
    let sinks = [
        format!("forward:127.0.0.1:{port}"),
        format!("file:{}", files.display()),
        format!("forward:unix:{}", socket.display()),
    ];
    let queues: Vec<_> = sinks.into_iter().map(|sink| Queue { sink, ..Queue::plain() }).collect();
    write_configuration(&queues)?;

    let mut life = Instant::now();
    let mut daemon = start(&nic)?;
    let senders = Senders::start(&nic.tx, seed, QUEUES, SENDERS)?;
    let (mut log, mut killed) = (String::new(), Vec::new());
    for interruption in [Restart, DriverReload, Kill, DriverReload, Restart, Kill] {
        busy(&mut daemon).with_context(|| format!("before {interruption:?}"))?;
        println!("{interruption:?}");
        match interruption {
            Restart => log += &daemon.stop()?,
            Kill => {
                daemon.process().signal(libc::SIGKILL)?;
                daemon.process().wait(STEP_LIMIT)?;
                log += &daemon.process().stderr();
                killed.push(Killed { began: life, ended: Instant::now() });
            }
            DriverReload => {
                nic::unload(STEP_LIMIT)?;
                nic.plug_in(&parameters())?;
                steer(&nic)?;
                continue;
            }
        }
        life = Instant::now();
        daemon = start(&nic)?;
    }
    busy(&mut daemon).context("at the end")?;
    let sent = senders.finish().with_context(|| format!("seed {seed}"))?;
    settled(&mut daemon)?;
    kernel_agrees(&mut daemon)?;
    log += &daemon.stop()?;

    let mut arrived = ledger.take()?;
    ledger::read_files(&files, &mut arrived)?;
    let losses = ledger::losses(&log)?;
    let was_killed = |one: &Sent| {
        !one.closed && killed.iter().any(|life| one.began < life.ended && one.ended > life.began)
    };
    // A port that served a connection of a killed life says nothing exact about the others that it served.
    let mut by_port: BTreeMap<u16, Vec<Sent>> = BTreeMap::new();
    for one in sent {
        by_port.entry(one.port).or_default().push(one);
    }
    let (inexact, exact): (Vec<_>, Vec<_>) =
        by_port.into_values().partition(|connections| connections.iter().any(was_killed));
    let (inexact, exact) = (inexact.concat(), exact.concat());
    let acknowledged: u64 = inexact.iter().map(|one| one.acknowledged).sum();
    let got: u64 =
        inexact.iter().filter_map(|one| arrived.get(&one.plan.number)).map(|arrived| arrived.bytes).sum();
    println!("killed: {} connections, {acknowledged} bytes acknowledged, {got} arrived", inexact.len());
    let sums = ledger::check(&exact, &arrived, &losses, |_| false).with_context(|| format!("seed {seed}"))?;
    println!("seed {seed}: {sums:?}");
    Ok(())
}

fn parameters() -> String {
    format!("queues={}", QUEUES + 1)
}

fn start(nic: &Nic) -> Result<Daemon<'_>> {
    let path = configuration();
    Daemon::start(&nic.rx, &["--config", path.to_str().context("a path that is no text")?])
}

/// Waits until many connections are open and bring payload.
fn busy(daemon: &mut Daemon<'_>) -> Result<()> {
    let received = "zcrxd_receiver_received_bytes_total";
    let before = daemon.metrics()?.sum(received).unwrap_or(0.0);
    let open = daemon.until("many connections are open and receive", BUSY_LIMIT, |metrics| {
        metrics.sum("zcrxd_receiver_connections").is_some_and(|open| open >= OPEN)
            && metrics.sum(received).is_some_and(|bytes| bytes >= before + f64::from(1 << 20))
    });
    open.map(drop)
}
