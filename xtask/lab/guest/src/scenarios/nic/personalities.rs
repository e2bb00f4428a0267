//! `zcrxd nic`, zcrxd and its verdicts on the ways of several drivers, which the software NIC imitates, and on the guest's driver.

mod reload;
mod settings;
mod walk;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use zcrx_lab_guest::protocol::Need;

use self::walk::Walk;
use super::preparation::done;
use crate::harness::diagnosis::{answer, causes, close, episodes, named_in_the_end, watching};
use crate::harness::failures::agree;
use crate::harness::foreign::Foreign;
use crate::harness::nic::{self, Driver, Nic};
use crate::harness::random::{self, Random};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;
use crate::harness::{STEP_LIMIT, eventually, program};

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[
    RESTORED,
    RESTORED_MANY,
    DRIVER_RESTORED,
    DRIVER_RESTORED_MANY,
    FACTORY,
    RELOADED,
    STARVED,
    AREA_IN_RING,
];

const NEEDS: &[Need] = &[Need::Guest, Need::Zcrx, Need::Nic];
/// Drivers whose ways the NIC has.
const ALL: [&str; 4] = ["plain", "bnxt", "mlx5", "ice"];
const QUEUES: u32 = 8;

const fn restoring(
    name: &'static str,
    about: &'static str,
    limit: u64,
    default: bool,
    run: fn() -> Result<()>,
) -> Scenario {
    Scenario { name, about, needs: NEEDS, proves: &[], limit, default, run }
}

/// A few random states.
const RESTORED: Scenario = restoring(
    "personalities-restored",
    "on the ways of plain, bnxt, mlx5 and ice, in 3 random states each, zcrxd nic apply and restore, also killed at random \
     moments, leave every setting as it was",
    600,
    true,
    || restored(1, 3),
);

/// Takes seed and number of states from `ZCRX_LAB_SEED` and `ZCRX_LAB_STEPS` of the environment in which the lab is started.
const RESTORED_MANY: Scenario = restoring(
    "personalities-restored-seed",
    "personalities-restored with 100 random states each, or as many as ZCRX_LAB_STEPS says, from ZCRX_LAB_SEED",
    3000,
    false,
    || as_asked(restored),
);

/// A few random states of the guest's driver.
const DRIVER_RESTORED: Scenario = restoring(
    "driver-restored",
    "in 4 random states of the guest's driver zcrxd nic apply and restore, also killed at random moments, leave every setting \
     as it was",
    600,
    false,
    || driver_restored(1, 4),
);

/// Takes seed and number of states as [`RESTORED_MANY`] does.
const DRIVER_RESTORED_MANY: Scenario = restoring(
    "driver-restored-seed",
    "driver-restored with 100 random states, or as many as ZCRX_LAB_STEPS says, from ZCRX_LAB_SEED",
    3000,
    false,
    || as_asked(driver_restored),
);

/// With seed and number of states from the environment.
fn as_asked(run: fn(u64, u32) -> Result<()>) -> Result<()> {
    run(random::seed(), random::steps(100))
}

fn driver_restored(seed: u64, states: u32) -> Result<()> {
    let nic = Nic::unprepared("")?;
    walk(&nic, Random::new(seed), true, states, &format!("{}, seed {seed}", Driver::of_this_guest()?.name()))
}

/// Goes through random states of an interface.
fn walk(nic: &Nic, random: Random, has_zcrx: bool, states: u32, about: &str) -> Result<()> {
    let mut walk = Walk::new(nic, random, has_zcrx);
    for state in 1..=states {
        walk.step().with_context(|| format!("{about}, state {state}"))?;
    }
    println!("{about}: {}", walk.summary());
    ensure!(walk.applied > 0, "{about}: no state could be prepared, so this shows nothing");
    Ok(())
}

fn restored(seed: u64, states: u32) -> Result<()> {
    for (index, personality) in ALL.iter().enumerate() {
        let nic = Nic::unprepared(&format!("personality={personality} queues={QUEUES} channels=4"))?;
        let random = Random::new(seed.wrapping_mul(ALL.len() as u64).wrapping_add(index as u64));
        walk(&nic, random, *personality != "ice", states, &format!("{personality}, seed {seed}"))?;
        drop(nic);
        nic::remove(STEP_LIMIT)?;
    }
    Ok(())
}

/// From the driver's default settings, before and after a reload of the driver.
const FACTORY: Scenario = Scenario {
    name: "personalities-prepared",
    about: "on the ways of plain, bnxt and mlx5 as loaded, zcrxd run with prepare = true receives without a copy, does so again \
            after the driver is reloaded under it amid a transfer, which goes on with no byte lost, and leaves the settings as they \
            were",
    needs: NEEDS,
    proves: &[],
    limit: 900,
    default: false,
    run: || {
        for personality in ["plain", "bnxt", "mlx5"] {
            let parameters = format!("personality={personality} queues={QUEUES} channels=2");
            reload::amid_a_transfer(&parameters, 3).with_context(|| personality.to_owned())?;
            nic::remove(STEP_LIMIT)?;
        }
        Ok(())
    },
};

/// The same with the guest's driver.
const RELOADED: Scenario = Scenario {
    name: "driver-reloaded",
    about: "on an interface as its driver brings it up, zcrxd run with prepare = true receives without a copy; the driver's module is \
            removed and loaded again amid a transfer, which goes on; no byte acknowledged is lost, the next transfer is received \
            without a copy, and the settings are left as they were",
    needs: NEEDS,
    proves: &[],
    limit: 500,
    default: false,
    run: || reload::amid_a_transfer("", nic::QUEUE),
};

/// How a driver's queue comes back once buffers are there.
struct Recovery {
    personality: &'static str,
    /// Its own counter that moves while the queue starves.
    counter: &'static str,
    /// Whether the driver looks for buffers again by itself.
    by_itself: bool,
}

const RECOVERIES: [Recovery; 3] = [
    Recovery { personality: "plain", counter: "rx3_alloc_fail", by_itself: true },
    Recovery { personality: "bnxt", counter: "rx_total_oom_discards", by_itself: true },
    Recovery { personality: "mlx5", counter: "rx3_buff_alloc_err", by_itself: false },
];

/// A foreign queue starves, and comes back as its driver lets it.
const STARVED: Scenario = Scenario {
    name: "personalities-starved",
    about: "on the ways of plain, bnxt and mlx5 a foreign queue starved by a leak is named as one, with as many failures \
            counted as the driver counts; once all is returned the queue comes back by itself or, on mlx5, is called stalled with the \
            command that revives it",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 1200,
    default: false,
    run: || {
        for recovery in &RECOVERIES {
            starved(recovery).with_context(|| recovery.personality.to_owned())?;
            nic::remove(STEP_LIMIT)?;
        }
        Ok(())
    },
};

/// Gives the queue new rings until it has buffers.
fn restart(nic: &Nic) -> Result<()> {
    /// Within this time the kernel empties the page pool of the old ring.
    const OLD_POOL: Duration = Duration::from_secs(3);
    for size in ["512", "256", "512"] {
        nic.ethtool(&["-G", nic::RX, "rx", size])?;
        std::thread::sleep(OLD_POOL);
        let posted = nic.stat("rx3_posted")?;
        println!("{posted} buffers are posted after a restart with a ring of {size}");
        if posted > 0 {
            return Ok(());
        }
    }
    bail!("three restarts of the queue found no buffer")
}

fn starved(recovery: &Recovery) -> Result<()> {
    const LIMIT: Duration = Duration::from_mins(2);
    const BYTES: u64 = 32 << 20;
    let nic = Nic::unprepared(&format!("personality={} queues={QUEUES} channels=2", recovery.personality))?;
    nic.receive_buffers(128 << 10, 1 << 20)?;
    let mut prepare = nic.rx.command(program("zcrxd"));
    let flow = format!("tcp4:{}", nic::PORT);
    prepare.args(["nic", "apply", nic::RX, "--queues", "3", "--flow", &flow]);
    done(prepare)?;

    let mut daemon = watching(&nic.rx, &[])?;
    let listen = Nic::address();
    let arguments = ["--interface", nic::RX, "--queue", "3", "--listen", &listen, "--area-buffers", "2048"];
    let fault = ["--fault", "never-return", "--fault-after", "1000000"];
    let mut foreign = Foreign::start(&nic.rx, &[&arguments[..], &fault].concat())?;
    let before = nic.stat(recovery.counter)?;
    let mut traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
    eventually("the driver's counter moves", LIMIT, || {
        Ok((nic.stat(recovery.counter)? > before).then_some(()))
    })?;
    named_in_the_end(&daemon, "never_returned")?;
    daemon.until("the starvation shows", LIMIT, |metrics| metrics.sum("zcrx_queue_starving") == Some(1.0))?;

    foreign.order("resume")?;
    if !recovery.by_itself {
        named_in_the_end(&daemon, "lazy_consumption")?;
        // A new ring tries again.
        agree(&nic, &daemon, recovery.counter, before)?;
        ensure!(traffic.running()?, "the transfer went on although this driver does not retry");
        let said = daemon.page("/diagnose.json")?;
        let revive = format!("ethtool -G {}", nic::RX);
        ensure!(said.contains(&revive), "no command that revives the queue: {said}");
        restart(&nic)?;
    }
    traffic.finish(TRANSFER_LIMIT)?;
    daemon
        .until("the starvation is over", LIMIT, |metrics| metrics.sum("zcrx_queue_starving") == Some(0.0))?;
    if recovery.by_itself {
        agree(&nic, &daemon, recovery.counter, before)?;
        for episode in episodes(&answer(&daemon)?) {
            let stalls = causes(&episode).iter().any(|cause| cause == "lazy_consumption");
            ensure!(!stalls, "a driver that retries is said to stay dead: {episode}");
        }
    }
    foreign.settle_and_quit()?;
    close(daemon)
}

/// bnxt hands a buffer on only against another one.
const AREA_IN_RING: Scenario = Scenario {
    name: "personalities-area-in-ring",
    about: "on the ways of bnxt an area that fits into the receive ring receives nothing: first cause area_too_small",
    needs: &[Need::Guest, Need::Zcrx, Need::Nic, Need::Btf],
    proves: &[],
    limit: 300,
    default: false,
    run: || {
        const RING: &str = "256";
        const BYTES: u64 = 1 << 20;
        let nic = Nic::with(&format!("personality=bnxt queues={QUEUES} channels=2"))?;
        nic.receive_ring(RING)?;
        let daemon = watching(&nic.rx, &[])?;
        let listen = Nic::address();
        let foreign = Foreign::on_nic(&nic, &["--area-buffers", RING])?;
        let mut traffic = Traffic::start(&nic.tx, &listen, BYTES, &[])?;
        named_in_the_end(&daemon, "area_too_small")?;
        ensure!(traffic.running()?, "an area that fits into the ring receives everything");
        traffic.abandon()?;
        foreign.kill()?;
        close(daemon)
    },
};
