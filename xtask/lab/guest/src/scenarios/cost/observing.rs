//! CPU cost of zcrxd on the host: while no client scrapes, and for each scrape.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::Need;

use crate::harness::daemon::Daemon;
use crate::harness::instructions::{figure, of_daemon_without_samples, of_process, require_counting};
use crate::harness::namespace::Namespace;
use crate::harness::process::Process;
use crate::harness::scenario::Scenario;
use crate::harness::{eventually, program};

/// The scenarios of this file.
pub(super) const SCENARIOS: &[Scenario] = &[OBSERVE, START];

/// Longer than zcrxd remembers samples, so that its window is full.
const WINDOW: Duration = Duration::from_secs(65);
/// How long the idle daemon is watched: one sample more or less is 1 %. The machine skips the time in which nothing runs.
const IDLE: Duration = Duration::from_secs(100);
/// Scrapes that count. One before them does not: every ten seconds one counts the keys of all maps.
const SCRAPES: u32 = 50;
/// Buffers of a queue where the number of queues is what counts.
const SMALL: &str = "64";
const LIMIT: Duration = Duration::from_mins(10);

/// The daemon by itself.
const OBSERVE: Scenario = Scenario {
    name: "cost-observe",
    about: "instructions per second, per sample and per scrape, and memory, with up to 256 queues and 100,000 open files (bench)",
    needs: &[Need::Guest, Need::Zcrx, Need::Nodev, Need::Btf],
    proves: &[],
    limit: 3600,
    default: false,
    run: || {
        require_counting()?;
        start()?;
        queues(&[0, 1, 16, 64, 256])?;
        buffers()?;
        files()
    },
};

/// The start by itself, with a log that says what takes the time.
const START: Scenario = Scenario {
    name: "cost-start",
    about: "instructions until zcrxd is ready; in the artefacts, a log whose timestamps are instructions (1 ns each)",
    needs: &[Need::Guest, Need::Btf],
    proves: &[],
    limit: 600,
    default: false,
    run: || {
        require_counting()?;
        start()?;
        let host = Namespace::create()?;
        Daemon::start(&host, &["--log.level", "debug"])?.stop().map(drop)
    },
};

/// Measures the instructions until zcrxd is ready, with its probes and without.
fn start() -> Result<()> {
    let host = Namespace::create()?;
    for (name, arguments) in [("without-probes", ["--no-probes"].as_slice()), ("default", &[])] {
        let mut daemon = Daemon::start(&host, arguments)?;
        let ran = of_process(daemon.process().id())?;
        figure(&format!("start/{name}/instructions"), ran as f64)?;
        daemon.stop()?;
    }
    Ok(())
}

/// Measures the cost by the number of queues without a device, and what is left of the cost when the queues are gone.
pub(super) fn queues(numbers: &[u32]) -> Result<()> {
    let host = Namespace::create()?;
    let mut daemon = Daemon::start(&host, &[])?;
    for number in numbers {
        let many = many(&host, SMALL, &["--queues", &number.to_string()])?;
        sleep(WINDOW);
        look(&mut daemon, &format!("queues/{number}"))?;
        many.kill()?;
    }
    if numbers.len() > 2 {
        sleep(WINDOW);
        look(&mut daemon, "queues/0-afterwards")?;
    }
    daemon.stop().map(drop)
}

/// Measures the cost by the size of one queue's area.
fn buffers() -> Result<()> {
    let host = Namespace::create()?;
    let mut daemon = Daemon::start(&host, &[])?;
    for buffers in ["4096", "65536", "262144"] {
        let many = many(&host, buffers, &["--queues", "1"])?;
        sleep(Duration::from_secs(5));
        idle(&mut daemon, &format!("buffers/{buffers}"))?;
        many.kill()?;
    }
    daemon.stop().map(drop)
}

/// Measures the cost by the number of files that the host's processes have open, with one queue.
fn files() -> Result<()> {
    let host = Namespace::create()?;
    let mut daemon = Daemon::start(&host, &[])?;
    for (processes, files) in [(1, 1000), (99, 1000)] {
        let arguments =
            ["--queues", "1", "--processes", &processes.to_string(), "--files", &files.to_string()];
        let many = many(&host, SMALL, &arguments)?;
        sleep(Duration::from_secs(5));
        look(&mut daemon, &format!("files/{}", (processes + 1) * files))?;
        many.kill()?;
    }
    daemon.stop().map(drop)
}

/// Starts the application that has many of something; each queue has an area of so many buffers.
fn many(host: &Namespace, buffers: &str, arguments: &[&str]) -> Result<Process> {
    let mut command = host.command(program("faulty-app"));
    command.args(["many", "--area-buffers", buffers, "--refill-entries", "64", "--cq-entries", "64"]);
    let mut many = Process::start("many", command.args(arguments))?;
    eventually("queues, files and processes are there", LIMIT, || {
        many.alive()?;
        Ok((!many.stdout().is_empty()).then_some(()))
    })?;
    Ok(many)
}

/// Measures the idle daemon, its scrapes and its memory.
fn look(daemon: &mut Daemon<'_>, name: &str) -> Result<()> {
    idle(daemon, name)?;
    let pid = daemon.process().id();
    daemon.page("/metrics")?;
    let before = of_daemon_without_samples(pid)?;
    let mut bytes = 0;
    for _ in 0..SCRAPES {
        bytes = daemon.page("/metrics")?.len();
    }
    let ran = of_daemon_without_samples(pid)? - before;
    figure(&format!("{name}/scrape-instructions"), ran as f64 / f64::from(SCRAPES))?;
    figure(&format!("{name}/scrape-bytes"), bytes as f64)?;
    figure(&format!("{name}/resident-bytes"), resident_bytes(pid)?)?;
    let maps = daemon.metrics()?.sum("zcrxd_probe_map_memory_bytes");
    maps.map_or(Ok(()), |bytes| figure(&format!("{name}/map-bytes"), bytes))
}

/// Measures the daemon while no client scrapes.
fn idle(daemon: &mut Daemon<'_>, name: &str) -> Result<()> {
    let pid = daemon.process().id();
    daemon.metrics()?;
    let (before, begun) = (of_process(pid)?, Instant::now());
    sleep(IDLE);
    let ran = (of_process(pid)? - before) as f64;
    figure(&format!("{name}/idle-instructions-per-second"), ran / begun.elapsed().as_secs_f64())
}

fn resident_bytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read its status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib =
        line.and_then(|line| line.split_whitespace().next()).and_then(|field| field.parse::<f64>().ok());
    Ok(kib.context("the kernel does not say how much memory it has")? * 1024.0)
}
