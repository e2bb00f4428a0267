//! Random programs with queues: after each step every figure that zcrxd shows of every queue equals the owner's ledger.

mod sharing;

use std::ops::RangeInclusive;

use anyhow::{Context, Result};
use zcrx_lab_guest::protocol::Need;

pub(super) use self::sharing::SharedQueue;
use super::foreign_snapshot::ForeignQueue;
use crate::harness::STEP_LIMIT;
use crate::harness::daemon::Daemon;
use crate::harness::nic::{End, Nic};
use crate::harness::random::{self, Random};
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[THREE_SEEDS, SEED_2, SEED_3, ANY_SEED];

/// Programs without a device at one time.
const MOST: usize = 4;
/// The first ring of a program without a device listens here; further rings do so one port higher each.
const FIRST_PORT: u16 = 9700;
/// Ports that a program without a device may use.
const PORTS: u16 = 100;

const fn scenario(name: &'static str, limit: u64, default: bool, run: fn() -> Result<()>) -> Scenario {
    Scenario {
        name,
        about: "programs register queues of random sizes with and without a device, share them among rings of all kinds, fork, \
                duplicate, add areas, leave completions unread, receive, leave and are killed, in an order from a seed; after \
                each step every figure of every queue equals its owner's ledger",
        needs: &[Need::Guest, Need::Nodev, Need::Nic, Need::Btf],
        proves: &[],
        limit,
        default,
        run,
    }
}

const THREE_SEEDS: Scenario = scenario("view-random", 600, true, || all_steps(1..=3, 12));
const SEED_2: Scenario = scenario("view-random-2", 3000, false, || all_steps(2..=2, 300));
const SEED_3: Scenario = scenario("view-random-3", 3000, false, || all_steps(3..=3, 300));
/// Takes seed and length from `ZCRX_LAB_SEED` and `ZCRX_LAB_STEPS` of the environment in which the lab is started.
const ANY_SEED: Scenario = scenario("view-random-seed", 3000, false, || {
    let seed = random::seed();
    all_steps(seed..=seed, random::steps(300))
});

/// A program with a queue.
enum Program<'a> {
    /// One ring, many connections.
    Single(ForeignQueue<'a>),
    /// Several rings.
    Shared(SharedQueue<'a>),
}

/// A program, and how to reach its queue.
struct Actor<'a> {
    program: Program<'a>,
    listen: String,
    end: Option<End<'a>>,
}

impl Actor<'_> {
    fn agrees(&mut self, daemon: &Daemon<'_>) -> Result<()> {
        match &mut self.program {
            Program::Single(queue) => queue.agrees_at_rest(daemon),
            Program::Shared(queue) => queue.agrees_at_rest(daemon),
        }
    }

    fn leave(self) -> Result<()> {
        match self.program {
            Program::Single(queue) => queue.leave(),
            Program::Shared(queue) => queue.leave(),
        }
    }

    fn kill(self) -> Result<()> {
        match self.program {
            Program::Single(queue) => queue.kill(),
            Program::Shared(queue) => queue.kill(),
        }
    }
}

/// What may happen in a step.
#[derive(Clone, Copy, Debug)]
enum Step {
    StartWithoutDevice { shared: bool },
    StartOnDevice { shared: bool, receiving: bool },
    Send,
    Share,
    Leave,
    Kill,
}

fn choose(random: &mut Random) -> Step {
    match random.below(23) {
        0..=2 => Step::StartWithoutDevice { shared: random.below(3) != 0 },
        3..=4 => Step::StartOnDevice { shared: random.below(2) == 0, receiving: random.below(2) == 0 },
        5..=9 => Step::Send,
        10..=20 => Step::Share,
        21 => Step::Leave,
        _ => Step::Kill,
    }
}

/// The programs there are, and what they live on.
struct Stage<'a> {
    nic: &'a Nic,
    actors: Vec<Actor<'a>>,
    started: u16,
    random: Random,
}

/// So many steps from each of these seeds.
fn all_steps(mut seeds: RangeInclusive<u64>, each: u32) -> Result<()> {
    let nic = Nic::pair()?;
    nic.sending().prepare()?;
    // The kernel returns the buffers of repeated segments by another path, so the figures would keep changing.
    nic.receiving().send_patiently()?;
    nic.sending().send_patiently()?;
    seeds.try_for_each(|seed| steps(&nic, seed, each))
}

fn steps(nic: &Nic, seed: u64, steps: u32) -> Result<()> {
    let mut daemon = Daemon::start(&nic.rx, &[])?;
    let mut stage = Stage { nic, actors: Vec::new(), started: 0, random: Random::new(seed) };
    for step in 0..steps {
        let mut done = String::new();
        // A choice that no program can act on takes no step.
        let (chosen, acted) = loop {
            let chosen = choose(&mut stage.random);
            let acted = stage.act(chosen, &mut done);
            if acted.is_err() || !done.is_empty() {
                break (chosen, acted);
            }
        };
        println!("step {step}: {chosen:?} {done}");
        let place = || format!("seed {seed}, step {step}: {chosen:?} {done}");
        acted.with_context(place)?;
        let there = stage.actors.len();
        daemon
            .until("each queue is shown", STEP_LIMIT, |metrics| {
                metrics.of("zcrx_queue_info").count() == there
            })
            .with_context(place)?;
        stage.actors.iter_mut().try_for_each(|actor| actor.agrees(&daemon)).with_context(place)?;
    }
    println!("seed {seed}: {steps} steps, no figure differed");
    for actor in stage.actors {
        actor.leave()?;
    }
    daemon
        .until("all queues are gone", STEP_LIMIT, |metrics| metrics.of("zcrx_queue_info").next().is_none())?;
    daemon.stop().map(drop)
}

impl<'a> Stage<'a> {
    /// Takes a step, and says which in `done`, which stays empty where no program can take the step.
    fn act(&mut self, step: Step, done: &mut String) -> Result<()> {
        match step {
            Step::StartWithoutDevice { shared } => {
                if self.actors.iter().filter(|actor| actor.end.is_none()).count() < MOST {
                    self.start_without_device(shared, done)?;
                }
            }
            Step::StartOnDevice { shared, receiving } => {
                let end = if receiving { self.nic.receiving() } else { self.nic.sending() };
                let taken =
                    |actor: &Actor<'_>| actor.end.is_some_and(|other| other.interface == end.interface);
                if !self.actors.iter().any(taken) {
                    self.start_on(end, shared, done)?;
                }
            }
            Step::Send => self.send(done)?,
            Step::Share => {
                let Self { actors, random, .. } = self;
                let shared = actors.iter_mut().filter_map(|actor| match &mut actor.program {
                    Program::Shared(queue) => Some(queue),
                    Program::Single(_) => None,
                });
                let sharing: Vec<_> = shared.collect();
                let chosen = random.below(sharing.len() as u32) as usize;
                if let Some(queue) = sharing.into_iter().nth(chosen) {
                    *done = queue.act(random)?;
                }
            }
            Step::Leave | Step::Kill if !self.actors.is_empty() => {
                let chosen = self.random.below(self.actors.len() as u32) as usize;
                let actor = self.actors.swap_remove(chosen);
                done.clone_from(&actor.listen);
                if matches!(step, Step::Leave) { actor.leave()? } else { actor.kill()? }
            }
            Step::Leave | Step::Kill => {}
        }
        Ok(())
    }

    fn start_without_device(&mut self, shared: bool, done: &mut String) -> Result<()> {
        let listen = format!("127.0.0.1:{}", FIRST_PORT + self.started * PORTS % 50_000);
        self.started += 1;
        let buffers = (64 << self.random.below(5)).to_string();
        let entries = (32 << self.random.below(5)).to_string();
        let mut further = vec!["--area-buffers", &buffers, "--refill-entries", &entries];
        *done = format!("{listen} {further:?}");
        let program = if shared {
            Program::Shared(SharedQueue::without_device(&self.nic.rx, &listen, &further)?)
        } else {
            if self.random.below(2) == 0 {
                further.push("--export");
            }
            Program::Single(ForeignQueue::without_device_of(&self.nic.rx, &listen, &further)?)
        };
        self.actors.push(Actor { program, listen, end: None });
        Ok(())
    }

    fn start_on(&mut self, end: End<'a>, shared: bool, done: &mut String) -> Result<()> {
        done.clone_from(&end.listens());
        let program = if shared {
            Program::Shared(SharedQueue::on(end)?)
        } else {
            let further: &[&str] = if self.random.below(2) == 0 { &["--export"] } else { &[] };
            Program::Single(ForeignQueue::on(end, further)?)
        };
        self.actors.push(Actor { program, listen: end.listens(), end: Some(end) });
        Ok(())
    }

    /// Sends to a random program, no more than it can hold without a starvation, whose end would be a matter of time.
    fn send(&mut self, done: &mut String) -> Result<()> {
        if self.actors.is_empty() {
            return Ok(());
        }
        let chosen = self.random.below(self.actors.len() as u32) as usize;
        let actor = &mut self.actors[chosen];
        let from = match actor.end {
            Some(end) if end.interface == self.nic.receiving().interface => &self.nic.tx,
            _ => &self.nic.rx,
        };
        let bytes = u64::from(1 + self.random.below(8)) << 17;
        let (to, bytes) = match &mut actor.program {
            Program::Single(_) => (actor.listen.clone(), bytes),
            Program::Shared(queue) => match queue.target(&actor.listen, bytes, &mut self.random)? {
                Some(target) => target,
                None => return Ok(()),
            },
        };
        *done = format!("{bytes} bytes to {to}");
        Traffic::start(from, &to, bytes, &[])?.finish(TRANSFER_LIMIT).map(drop)
    }
}
