//! What happens to a queue from outside: its interface, its driver, its owner go away.

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use crate::harness::foreign::Foreign;
use crate::harness::metrics::Metrics;
use crate::harness::nic::{self, Nic};
use crate::harness::process::Process;
use crate::harness::program;
use crate::harness::receiver::{TRANSFER_LIMIT, on_device, settled};
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[DOWN_UP, UNLOAD, RELOAD, KILL_DAEMON, KILL_FOREIGN, CYCLES];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];

/// The interface goes down and comes back.
const DOWN_UP: Scenario = Scenario {
    name: "interface-down-up",
    about: "the interface goes down and up amid a transfer, which then goes on to its verified end",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let daemon = on_device(&nic, &["--no-probes"])?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), 32 << 20, &[])?;
        flowing(&nic)?;
        nic.rx.run("ip", &["link", "set", nic::RX, "down"])?;
        nic.rx.run("ip", &["link", "set", nic::RX, "up"])?;
        traffic.finish(TRANSFER_LIMIT)?;
        daemon.stop().map(drop)
    },
};

/// The driver is unloaded under a bound queue.
const UNLOAD: Scenario = Scenario {
    name: "module-removed",
    about: "the NIC's module is removed amid a transfer into a bound queue; zcrxd lives on and stops in good order",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let mut daemon = on_device(&nic, &["--no-probes"])?;
        let _traffic = Traffic::start(&nic.tx, &Nic::address(), 256 << 20, &[])?;
        flowing(&nic)?;
        nic::unload(STEP_LIMIT)?;
        daemon.process().alive()?;
        daemon.metrics().context("zcrxd does not answer without its interface")?;
        daemon.stop().map(drop)
    },
};

/// The driver goes and comes back, three times.
const RELOAD: Scenario = Scenario {
    name: "module-reloaded",
    about: "each time the NIC's module is removed and loaded again the queue is registered again: state reported, listener kept, \
            no file, thread or memory left behind",
    needs: NEEDS,
    proves: &[],
    limit: 400,
    default: true,
    run: || {
        const BYTES: u64 = 4 << 20;
        let nic = Nic::pair()?;
        let mut daemon = on_device(&nic, &["--no-probes"])?;
        let mut first = None;
        for turn in 1..=4_u64 {
            Traffic::start(&nic.tx, &Nic::address(), BYTES, &[])?.finish(TRANSFER_LIMIT)?;
            let metrics = settled(&mut daemon)?;
            let verified = metrics.count("zcrxd_receiver_verified_bytes_total")?;
            ensure!(verified == turn * BYTES, "{verified} bytes were verified after {turn} transfers");
            let registrations = metrics.count("zcrxd_receiver_registrations_total")?;
            ensure!(registrations == turn, "registered {registrations} times in life {turn}");
            let used = Used::of(daemon.process().id(), &metrics)?;
            let before = *first.get_or_insert(used);
            // A thread that helps for a moment may still be there.
            eventually(&format!("no more is used than {before:?}"), STEP_LIMIT, || {
                let used = Used::of(daemon.process().id(), &daemon.metrics()?)?;
                Ok(used.is_no_more_than(before).then_some(()))
            })?;
            if turn == 4 {
                break;
            }
            nic::unload(STEP_LIMIT)?;
            daemon.until("the queue is said to have failed", STEP_LIMIT, |metrics| {
                in_state(metrics, "failed")
            })?;
            nic.plug_in("")?;
            daemon.until("the queue is back", STEP_LIMIT, |metrics| in_state(metrics, "running"))?;
        }
        daemon.stop().map(drop)
    },
};

/// What a process has.
#[derive(Clone, Copy, Debug)]
struct Used {
    files: u64,
    /// Threads, without those on which the web endpoint makes its answers: how many of these there are depends on the load.
    threads: usize,
    /// Mappings of rings.
    rings: usize,
    /// Private memory that is present, KiB.
    resident: u64,
}

/// Half of an area, KiB: a process that left areas behind would have a whole one more.
const HALF_AREA: u64 = 8 << 10;

impl Used {
    fn of(process: u32, metrics: &Metrics) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let status = read("status")?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB")?.trim().parse().ok());
        let threads =
            std::fs::read_dir(format!("/proc/{process}/task")).context("cannot list its threads")?;
        let is_of_web =
            |id: &str| read(&format!("task/{id}/comm")).is_ok_and(|name| name.starts_with("tokio"));
        let threads = threads.flatten().filter(|thread| !is_of_web(&thread.file_name().to_string_lossy()));
        Ok(Self {
            files: metrics.count("process_open_fds")?,
            threads: threads.count(),
            rings: read("maps")?.lines().filter(|line| line.contains("io_uring")).count(),
            resident: resident.context("its status does not say what is resident")?,
        })
    }

    fn is_no_more_than(self, before: Self) -> bool {
        self.files <= before.files
            && self.threads <= before.threads
            && self.rings <= before.rings
            && self.resident <= before.resident + HALF_AREA
    }
}

fn in_state(metrics: &Metrics, state: &str) -> bool {
    metrics
        .of("zcrxd_receiver_state")
        .any(|sample| sample.value > 0.0 && sample.labels.get("state").is_some_and(|label| label == state))
}

/// zcrxd is killed.
const KILL_DAEMON: Scenario = Scenario {
    name: "zcrxd-killed",
    about: "zcrxd is killed amid a transfer; the queue can be registered again, nothing is left behind",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let daemon = on_device(&nic, &["--no-probes"])?;
        let traffic = Traffic::start(&nic.tx, &Nic::address(), 256 << 20, &[])?;
        flowing(&nic)?;
        daemon.kill()?;
        traffic.abandon()?;
        registered_again(&nic)
    },
};

/// A program that holds buffers is killed.
const KILL_FOREIGN: Scenario = Scenario {
    name: "holder-killed",
    about: "a program is killed while it holds every buffer of its queue; the queue can be registered again",
    needs: NEEDS,
    proves: &[],
    limit: 240,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        let listen = Nic::address();
        let arguments =
            ["--interface", nic::RX, "--queue", "1", "--listen", &listen, "--fault", "never-return"];
        let foreign = Foreign::start(&nic.rx, &arguments)?;
        let traffic = Traffic::start(&nic.tx, &listen, 64 << 20, &[])?;
        eventually("the NIC finds no buffer", STEP_LIMIT, || {
            Ok((nic.stat("rx1_alloc_fail")? > 0).then_some(()))
        })?;
        foreign.kill()?;
        traffic.abandon()?;
        registered_again(&nic)
    },
};

/// Many lives.
const CYCLES: Scenario = Scenario {
    name: "fifty-kills",
    about: "50 times a program registers the queue and is killed",
    needs: NEEDS,
    proves: &[],
    limit: 300,
    default: true,
    run: || {
        let nic = Nic::pair()?;
        for cycle in 1..=50 {
            hold(&nic).with_context(|| format!("cycle {cycle}"))?.kill()?;
        }
        let starts = nic.stat("rx1_starts")?;
        ensure!(starts >= 50, "the queue was started {starts} times, and not once for each registration");
        Ok(())
    },
};

/// Waits until payload arrives in the area.
fn flowing(nic: &Nic) -> Result<()> {
    eventually("payload arrives", STEP_LIMIT, || Ok((nic.stat("rx1_niov_bytes")? > 1 << 20).then_some(())))
}

/// Registers the queue once more: the kernel lets go of a dead owner's only after a while.
fn registered_again(nic: &Nic) -> Result<()> {
    hold(nic)?.kill()
}

/// A program that has registered the queue and stays.
fn hold(nic: &Nic) -> Result<Process> {
    eventually("the queue can be registered", STEP_LIMIT, || {
        let mut command = nic.rx.command(program("faulty-app"));
        command.args(["register", "--hold", "--interface", nic::RX, "--queue", "1", "--area-buffers", "512"]);
        let mut process = Process::start("register", &mut command)?;
        let answered = eventually("the kernel answers", STEP_LIMIT, || {
            Ok(process.stdout().contains('\n').then(|| process.stdout()))
        })?;
        if answered.contains("\"errno\":0") {
            return Ok(Some(process));
        }
        // Still bound to the one before, or not yet torn down.
        ensure!(answered.contains("EEXIST") || answered.contains("EBUSY"), "refused: {answered}");
        process.wait(STEP_LIMIT)?;
        Ok(None)
    })
}
