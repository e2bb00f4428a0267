//! Interruptions amid many connections: the receiver is killed, stopped and started again, and the NIC's driver is reloaded.
//!
//! A killed receiver cannot state what it loses, and its log is not complete. So the kill comes first, and what is said of the
//! connections that the first receiver served is only that no byte of theirs is wrong or arrived twice.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use zcrx_lab_guest::protocol::Need;

use super::destinations::{Ledger, over_tcp, over_unix};
use super::ledger;
use super::senders::{Senders, Sent};
use super::{QUEUES, Queue, configuration, steer, write_configuration};
use crate::harness::STEP_LIMIT;
use crate::harness::daemon::Daemon;
use crate::harness::namespace::Namespace;
use crate::harness::nic::{self, Nic};
use crate::harness::random;
use crate::harness::receiver::settled;
use crate::harness::scenario::Scenario;
use crate::harness::work;

/// Area of each queue, for up to 1024 connections: a queue counts what refused connections lose, but a killed one cannot state it.
const AREA_MIB: u32 = 32;
/// Longest time until the connections are open, and until they bring payload. After an interruption, TCP waits up to a minute before
/// it sends again.
const BUSY_LIMIT: Duration = Duration::from_mins(5);

const fn scenario(
    name: &'static str,
    about: &'static str,
    limit: u64,
    default: bool,
    run: fn() -> Result<()>,
) -> Scenario {
    let needs = &[Need::Guest, Need::Zcrx, Need::Nic];
    Scenario { name, about, needs, proves: &[], limit, default, run }
}

pub(super) const SHORT: Scenario = scenario(
    "receive-interrupted",
    "amid 40 connections whose bytes are checked, zcrxd is killed (SIGKILL) and restarted (SIGTERM), and the NIC's driver \
     is reloaded: no byte is wrong or arrives twice, and the bytes acknowledged to each sender that the killed process \
     did not serve are those that its destination got and those that zcrxd logs as lost",
    900,
    false,
    || run(1, 40),
);

pub(super) const MANY: Scenario =
    scenario("receive-interrupted-many", "the same amid 200 connections, from a seed", 1800, false, || {
        run(random::seed(), 200)
    });

/// What ends or breaks the receiver.
#[derive(Clone, Copy, Debug)]
enum Interruption {
    Kill,
    Restart,
    DriverReload,
}

/// `open`: number of connections that are open together before an interruption.
fn run(seed: u64, open: u32) -> Result<()> {
    use Interruption::{DriverReload, Kill, Restart};
    allow_many_files()?;
    let nic = Nic::with(&parameters())?;
    steer(&nic)?;
    probe_peers(&[&nic.rx, &nic.tx])?;
    let ledger = Arc::new(Ledger::default());
    let (socket, files) = (work().join("destination.sock"), work().join("files"));
    let port = over_tcp(&nic.rx, seed, QUEUES, &ledger)?;
    over_unix(&socket, seed, QUEUES, &ledger)?;
    let sinks = [
        format!("forward:127.0.0.1:{port}"),
        format!("file:{}", files.display()),
        format!("forward:unix:{}", socket.display()),
    ];
    let queues: Vec<_> =
        sinks.into_iter().map(|sink| Queue { sink, area_mib: AREA_MIB, ..Queue::plain() }).collect();
    write_configuration(&queues)?;

    let mut daemon = start(&nic)?;
    // The destinations of some connections die before the middle.
    let senders = Senders::start(&nic.tx, seed, QUEUES, open + open / 2)?;
    let mut log = String::new();
    let mut killed = None;
    for interruption in [Kill, Restart, DriverReload] {
        busy(&mut daemon, &senders, open).with_context(|| format!("before {interruption:?}"))?;
        println!("{interruption:?}");
        match interruption {
            Kill => {
                daemon.kill()?;
                killed = Some(Instant::now());
                daemon = start(&nic)?;
            }
            Restart => {
                log += &daemon.stop()?;
                daemon = start(&nic)?;
            }
            DriverReload => {
                nic::unload(STEP_LIMIT)?;
                nic.plug_in(&parameters())?;
                steer(&nic)?;
            }
        }
    }
    busy(&mut daemon, &senders, open).context("at the end")?;
    let sent = senders.finish().with_context(|| format!("seed {seed}"))?;
    settled(&mut daemon)?;
    log += &daemon.stop()?;

    let mut arrived = ledger.take()?;
    ledger::read_files(&files, &mut arrived)?;
    let losses = ledger::losses(&log)?;
    // zcrxd's log names a connection by its port: if the killed process served one, nothing exact is known of the others.
    let was_killed = |one: &Sent| killed.is_none_or(|killed| one.began < killed);
    let mut by_port: BTreeMap<u16, Vec<Sent>> = BTreeMap::new();
    for one in sent {
        by_port.entry(one.port).or_default().push(one);
    }
    let (served, exact): (Vec<_>, Vec<_>) =
        by_port.into_values().partition(|connections| connections.iter().any(was_killed));
    let (served, exact) = (served.concat(), exact.concat());
    for connections in [&served, &exact] {
        ensure!(connections.len() >= open as usize, "only {} connections", connections.len());
    }
    let got = |one: &Sent| arrived.get(&one.plan.number).map_or(0, |arrived| arrived.bytes);
    if let Some(more) = served.iter().find(|one| got(one) > one.written) {
        bail!("seed {seed}: {} bytes arrived of {more:?}", got(more));
    }
    let (acknowledged, got): (u64, u64) =
        served.iter().fold((0, 0), |sums, one| (sums.0 + one.acknowledged, sums.1 + got(one)));
    println!("killed: {} connections, {acknowledged} bytes acknowledged, {got} arrived", served.len());
    let sums = ledger::check(&exact, &arrived, &losses, |_| false).with_context(|| format!("seed {seed}"))?;
    println!("seed {seed}: {sums:?}");
    Ok(())
}

/// Raises the limit of open files to the most that is allowed: senders and destinations share this process.
fn allow_many_files() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a limit that lives long enough.
    let done = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
        }
    };
    ensure!(done, "cannot raise the limit of open files: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Makes the kernel probe silent peers of sockets with keepalive every few seconds.
fn probe_peers(namespaces: &[&Namespace]) -> Result<()> {
    for namespace in namespaces {
        for name in ["time", "intvl"] {
            let path = format!("/proc/sys/net/ipv4/tcp_keepalive_{name}");
            namespace.enter(|| fs::write(&path, "5").with_context(|| format!("cannot set {path}")))?;
        }
    }
    Ok(())
}

fn parameters() -> String {
    format!("queues={}", QUEUES + 1)
}

fn start(nic: &Nic) -> Result<Daemon<'_>> {
    let path = configuration();
    let path = path.to_str().context("a path that is no text")?;
    // Hundreds of busy threads delay the grace periods that the kernel needs to attach probes by minutes.
    Daemon::start(&nic.rx, &["--config", path, "--no-probes"])
}

/// Waits until many connections are open together and bring payload.
fn busy(daemon: &mut Daemon<'_>, senders: &Senders, open: u32) -> Result<()> {
    const RECEIVED: &str = "zcrxd_receiver_received_bytes_total";
    senders.hold();
    let opened = daemon.until("many connections are open", BUSY_LIMIT, |metrics| {
        metrics.sum("zcrxd_receiver_connections").is_some_and(|connections| connections >= f64::from(open))
    })?;
    let before = opened.sum(RECEIVED).context("nothing says what was received")?;
    senders.go_on();
    // The other halves of the connections are several times as much.
    let more = daemon.until("they bring payload", BUSY_LIMIT, |metrics| {
        metrics.sum(RECEIVED).is_some_and(|bytes| bytes >= before + f64::from(1 << 20))
    });
    more.map(drop)
}
