//! Heavy traffic that looks alarming and is healthy: zcrxd must raise no alarm.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::foreign::{Foreign, number};
use crate::harness::metrics::{Metrics, Sample};
use crate::harness::nic::{self, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::{Scenario, Skip};
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[MINUTE, TEN_MINUTES];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf];

/// Short enough to run after each change of the rules.
const MINUTE: Scenario = Scenario {
    name: "healthy",
    about: "a minute of bursts, pauses and many connections on an own and a foreign queue, of the foreign one all buffers in \
            flight and none free: not one episode",
    needs: NEEDS,
    proves: &[],
    limit: 500,
    default: true,
    run: || healthy(Duration::from_mins(1)),
};

/// The same for long.
const TEN_MINUTES: Scenario = Scenario {
    name: "healthy-ten-minutes",
    about: "ten minutes of the same: not one episode",
    needs: NEEDS,
    proves: &[],
    limit: 1500,
    default: false,
    run: || healthy(Duration::from_mins(10)),
};

/// The foreign program's queue, and the port that is steered to it.
const FOREIGN_QUEUE: u32 = 2;
const FOREIGN_PORT: u16 = 9998;

/// Buffers of each queue: the NIC's ring and the pool's cache (384), what all sockets of a burst and of the large transfers may hold
/// (1,620), and three times as much again for what has been received while the receive thread waits for a CPU.
const BUFFERS: u64 = 8192;

/// What a socket may hold: 16 full buffers, or 45 with a segment each.
const RECEIVE_BUFFER: u64 = 64 << 10;

/// A burst: so many connections at once.
const BURST: usize = 32;

/// So many connections hold more than an area, if the application does not read them: at least 16 buffers each.
const CROWD: &str = "640";

/// Time after which zcrxd does not take a loss for a repetition of an earlier one, and some more.
const FORGOTTEN: Duration = Duration::from_secs(45);

/// One of the two queues.
struct Queue {
    index: u32,
    address: String,
}

/// What was seen of one queue.
#[derive(Default)]
struct Seen {
    looks: u32,
    none_free: u32,
    /// The pool was responsible for nearly all of the area.
    saturated: u32,
    most_connections: u64,
}

fn healthy(time: Duration) -> Result<()> {
    let nic = Nic::pair()?;
    nic.receive_buffers(RECEIVE_BUFFER, RECEIVE_BUFFER)?;
    let (port, queue) = (FOREIGN_PORT.to_string(), FOREIGN_QUEUE.to_string());
    nic.ethtool(&["-N", nic::RX, "flow-type", "tcp4", "dst-port", &port, "action", &queue])?;
    let queues = [
        Queue { index: nic::QUEUE, address: Nic::address() },
        Queue { index: FOREIGN_QUEUE, address: format!("{}:{FOREIGN_PORT}", nic::RX_ADDRESS) },
    ];
    let mut foreign = start_foreign(&nic, &queues[1])?;
    let mut daemon = start_own(&nic, &queues[0])?;

    // Buffers that came back through the refill ring stay off the freelist: once all have been out, none is free again.
    let mut crowd = None;
    exhaust(&nic, &queues[0], || {
        daemon.process().signal(libc::SIGSTOP)?;
        // They wait to be accepted, and their sockets receive.
        crowd = Some(Traffic::start(&nic.tx, &queues[0].address, 512 << 10, &["--connections", CROWD])?);
        Ok(())
    })?;
    daemon.process().signal(libc::SIGCONT)?;
    if let Some(crowd) = crowd {
        crowd.finish(TRANSFER_LIMIT)?;
    }
    let held = Traffic::start(&nic.tx, &queues[1].address, 64 << 20, &["--connections", "4"])?;
    exhaust(&nic, &queues[1], || foreign.order("hold"))?;
    foreign.order("resume")?;
    held.finish(TRANSFER_LIMIT)?;
    let before = eventually("what was made to starve is over", 2 * STEP_LIMIT, || {
        let answer = answer(&daemon)?;
        Ok(open_episodes(&answer).is_empty().then(|| ended(&answer)))
    })?;
    // The losses made on purpose count as moments of one problem with any that comes within 40 seconds.
    std::thread::sleep(FORGOTTEN);
    let failed_before = failures(&nic)?;

    let (begun, mut rounds) = (Instant::now(), 0u32);
    let mut seen = [Seen::default(), Seen::default()];
    // On a slow machine a round takes long: a few there must be.
    while begun.elapsed() < time || rounds < 3 {
        rounds += 1;
        let mut traffic = Vec::new();
        for queue in &queues {
            traffic.push(Traffic::start(&nic.tx, &queue.address, 48 << 20, &["--connections", "4"])?);
            let burst = ["--connections", &BURST.to_string(), "--seed", "1000"];
            traffic.push(Traffic::start(&nic.tx, &queue.address, 1 << 20, &burst)?);
        }
        while traffic.iter_mut().any(|traffic| traffic.running().unwrap_or(false)) {
            look(&daemon, &mut foreign, &queues, before, &mut seen)?;
            std::thread::sleep(Duration::from_millis(300));
        }
        for traffic in traffic {
            traffic.finish(TRANSFER_LIMIT)?;
        }
        // A queue that is quiet now and then is no less healthy.
        let pause = Instant::now();
        while rounds.is_multiple_of(3) && pause.elapsed() < Duration::from_secs(2) {
            look(&daemon, &mut foreign, &queues, before, &mut seen)?;
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    let failed = failures(&nic)?.map(|now| now.to_string()).join(" and ");
    println!(
        "{rounds} rounds in {:.0} s; failed allocations: {:?} before, {failed} after",
        begun.elapsed().as_secs_f64(),
        failed_before
    );
    for (queue, seen) in queues.iter().zip(&seen) {
        println!(
            "queue {}: {} looks, none free in {}, three quarters in flight or more in {}, up to {} connections",
            queue.index, seen.looks, seen.none_free, seen.saturated, seen.most_connections
        );
        ensure!(seen.looks > 10 && rounds > 2, "too little was seen");
        // zcrxd flushes its refill ring when a copy finds none free, so that many are free again.
        if queue.index != nic::QUEUE {
            shows(seen.none_free * 2 > seen.looks, "the free count was hardly ever zero")?;
            shows(seen.saturated * 2 > seen.looks, "the area was hardly ever in flight")?;
        }
        shows(seen.most_connections as usize >= BURST / 2, "there were few connections")?;
    }
    foreign.quit()?;
    daemon.stop().map(drop)
}

fn start_own<'a>(nic: &'a Nic, queue: &Queue) -> Result<Daemon<'a>> {
    let (index, area) = (queue.index.to_string(), (BUFFERS * 4096).to_string());
    let mut arguments = vec!["--listen", &queue.address, "--interface", nic::RX, "--queue", &index];
    arguments.extend(["--backend", "device", "--sink", "verify", "--area", &area]);
    arguments.extend(["--refill-entries", "4096"]);
    Daemon::start(&nic.rx, &arguments)
}

fn start_foreign(nic: &Nic, queue: &Queue) -> Result<Foreign> {
    let (index, buffers) = (queue.index.to_string(), BUFFERS.to_string());
    let mut arguments = vec!["--interface", nic::RX, "--queue", &index, "--listen", &queue.address];
    arguments.extend(["--area-buffers", &buffers, "--refill-entries", &buffers]);
    Foreign::start(&nic.rx, &arguments)
}

/// Fails if the traffic was not heavy enough: then the absence of an alarm proves nothing.
fn shows(met: bool, otherwise: &str) -> Result<()> {
    if met { Ok(()) } else { Err(Skip(format!("{otherwise}: this shows nothing")).into()) }
}

/// Has every buffer of a queue out at once: its owner stops, and more is sent than the area has.
fn exhaust(nic: &Nic, queue: &Queue, stop: impl FnOnce() -> Result<()>) -> Result<()> {
    let name = format!("rx{}_alloc_fail", queue.index);
    let before = nic.stat(&name)?;
    stop()?;
    let out =
        eventually("every buffer is in use", STEP_LIMIT, || Ok((nic.stat(&name)? > before).then_some(())));
    if let Err(error) = &out {
        println!("{error:#}");
    }
    shows(out.is_ok(), "not all buffers were out at once")
}

/// Fails if zcrxd reports an alarm or an episode of any queue; prints the state of each.
fn look(
    daemon: &Daemon<'_>,
    foreign: &mut Foreign,
    queues: &[Queue; 2],
    before: u64,
    seen: &mut [Seen; 2],
) -> Result<()> {
    let answer = answer(daemon)?;
    let open = open_episodes(&answer);
    ensure!(open.is_empty(), "an episode of a healthy queue: {open:?}");
    let over = ended(&answer);
    ensure!(over == before, "an episode of a healthy queue came and went: {}", answer["recent"]);
    let metrics = daemon.metrics()?;
    for (queue, seen) in queues.iter().zip(seen.iter_mut()) {
        seen.looks += 1;
        seen.none_free += u32::from(figure(&metrics, "zcrx_queue_free_buffers", queue)? == 0);
        let in_flight = figure(&metrics, "zcrx_queue_pool_inflight_buffers", queue)?;
        seen.saturated += u32::from(in_flight >= BUFFERS * 3 / 4);
    }
    let own = metrics.count("zcrxd_receiver_connections")?;
    seen[0].most_connections = seen[0].most_connections.max(own);
    seen[1].most_connections = seen[1].most_connections.max(number(&foreign.truth()?, "connections")?);
    Ok(())
}

fn figure(metrics: &Metrics, name: &str, queue: &Queue) -> Result<u64> {
    metrics.one(name, &[("queue", &queue.index.to_string())]).map(Sample::count)
}

fn answer(daemon: &Daemon<'_>) -> Result<Value> {
    serde_json::from_str(&daemon.page("/diagnose.json")?).context("/diagnose.json is no JSON")
}

fn open_episodes(answer: &Value) -> Vec<&Value> {
    let queues = answer["queues"].as_array().into_iter().flatten();
    queues.map(|queue| &queue["episode"]).filter(|episode| !episode.is_null()).collect()
}

/// Episodes that are over.
fn ended(answer: &Value) -> u64 {
    answer["recent"].as_array().map_or(0, |recent| recent.len() as u64)
}

/// Failed allocations of both queues, as the NIC counts them.
fn failures(nic: &Nic) -> Result<[u64; 2]> {
    Ok([nic.stat("rx1_alloc_fail")?, nic.stat("rx2_alloc_fail")?])
}
