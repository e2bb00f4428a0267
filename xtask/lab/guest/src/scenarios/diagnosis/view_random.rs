//! Random programs with queues: after each step every figure that zcrxd shows of every queue is held against its owner's ledger.

use anyhow::{Context, Result, ensure};
use zcrx_lab_guest::protocol::Need;

use super::foreign_snapshot::ForeignQueue;
use crate::harness::STEP_LIMIT;
use crate::harness::daemon::Daemon;
use crate::harness::nic::{End, Nic};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[SEED_1, SEED_2, SEED_3];

/// Steps of one run, unless `ZCRX_LAB_STEPS` says otherwise.
const STEPS: u32 = 40;
/// Programs without a device at one time.
const MOST: usize = 4;
/// Ports of programs without a device begin here.
const FIRST_PORT: u16 = 9700;

const fn scenario(name: &'static str, run: fn() -> Result<()>) -> Scenario {
    Scenario {
        name,
        about: "programs register queues of random sizes with and without a device, receive, export, leave and are killed, in an \
                order from a seed; after each step every figure of every queue equals its owner's ledger",
        needs: &[Need::Guest, Need::Nodev, Need::Nic, Need::Btf],
        proves: &[],
        limit: 900,
        default: false,
        run,
    }
}

const SEED_1: Scenario = scenario("view-random", || steps(1));
const SEED_2: Scenario = scenario("view-random-2", || steps(2));
const SEED_3: Scenario = scenario("view-random-3", || steps(3));

/// Numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(limit.max(1))) as u32
    }
}

/// A program and how to reach it.
struct Actor<'a> {
    queue: ForeignQueue<'a>,
    listen: String,
    end: Option<End<'a>>,
}

/// What may happen in a step.
#[derive(Debug)]
enum Step {
    StartWithout,
    StartOn(bool),
    Send,
    Quit,
    Kill,
}

fn choose(random: &mut Random) -> Step {
    match random.below(12) {
        0..=2 => Step::StartWithout,
        3 | 4 => Step::StartOn(random.below(2) == 0),
        5..=9 => Step::Send,
        10 => Step::Quit,
        _ => Step::Kill,
    }
}

fn steps(seed: u64) -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let steps = number("ZCRX_LAB_STEPS").unwrap_or(STEPS);
    let nic = Nic::pair()?;
    nic.sending().prepare()?;
    // The kernel returns the buffers of repeated segments by another path, so the figures would keep changing.
    nic.receiving().send_patiently()?;
    nic.sending().send_patiently()?;
    let mut daemon = Daemon::start(&nic.rx, &[])?;
    let mut random = Random(seed);
    let mut actors: Vec<Actor<'_>> = Vec::new();
    let mut port = FIRST_PORT;
    for step in 0..steps {
        let chosen = choose(&mut random);
        let done = act(&chosen, &nic, &mut actors, &mut port, &mut random);
        done.with_context(|| format!("seed {seed}, step {step}: {chosen:?}"))?;
        let there = actors.len();
        daemon
            .until("as many queues are shown as there are", STEP_LIMIT, |metrics| {
                metrics.of("zcrx_queue_info").count() == there
            })
            .with_context(|| format!("seed {seed}, step {step}: {chosen:?}"))?;
        for actor in &mut actors {
            let agrees = actor.queue.agrees_at_rest(&daemon);
            agrees.with_context(|| format!("seed {seed}, step {step}: after {chosen:?}"))?;
        }
    }
    println!("seed {seed}: {steps} steps, no figure differed");
    for actor in actors {
        actor.queue.leave()?;
    }
    daemon
        .until("all queues are gone", STEP_LIMIT, |metrics| metrics.of("zcrx_queue_info").next().is_none())?;
    daemon.stop().map(drop)
}

fn act<'a>(
    step: &Step,
    nic: &'a Nic,
    actors: &mut Vec<Actor<'a>>,
    port: &mut u16,
    random: &mut Random,
) -> Result<()> {
    match step {
        Step::StartWithout if actors.iter().filter(|actor| actor.end.is_none()).count() < MOST => {
            *port += 1;
            let listen = format!("127.0.0.1:{port}");
            let buffers = (64 << random.below(5)).to_string();
            let entries = (32 << random.below(5)).to_string();
            let mut further = vec!["--area-buffers", &buffers, "--refill-entries", &entries];
            if random.below(2) == 0 {
                further.push("--export");
            }
            let queue = ForeignQueue::without_device_of(&nic.rx, &listen, &further)?;
            actors.push(Actor { queue, listen, end: None });
        }
        Step::StartOn(receiving) => {
            let end = if *receiving { nic.receiving() } else { nic.sending() };
            if actors.iter().any(|actor| actor.end.is_some_and(|other| other.interface == end.interface)) {
                return Ok(());
            }
            let further: &[&str] = if random.below(2) == 0 { &["--export"] } else { &[] };
            let queue = ForeignQueue::on(end, further)?;
            actors.push(Actor { queue, listen: end.listens(), end: Some(end) });
        }
        Step::Send if !actors.is_empty() => {
            let actor = &actors[random.below(actors.len() as u32) as usize];
            let from = match actor.end {
                Some(end) if end.interface == nic.receiving().interface => &nic.tx,
                _ => &nic.rx,
            };
            let bytes = u64::from(1 + random.below(8)) << 17;
            Traffic::start(from, &actor.listen, bytes, &[])?.finish(TRANSFER_LIMIT)?;
        }
        Step::Quit if !actors.is_empty() => {
            let actor = actors.swap_remove(random.below(actors.len() as u32) as usize);
            actor.queue.leave()?;
        }
        Step::Kill if !actors.is_empty() => {
            let actor = actors.swap_remove(random.below(actors.len() as u32) as usize);
            actor.queue.kill()?;
        }
        _ => {}
    }
    ensure!(actors.len() <= MOST + 2, "too many programs");
    Ok(())
}
