//! Recommended sizes, applied to programs with random bursts of traffic.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::sizes::{Sizes, recommended};
use crate::harness::diagnosis::{NEEDS, close, watching};
use crate::harness::foreign::{Foreign, number};
use crate::harness::nic::{self, Nic};
use crate::harness::random::Random;
use crate::harness::receiver::TRANSFER_LIMIT;
use crate::harness::scenario::Scenario;
use crate::harness::traffic::Traffic;

/// What this file shows.
pub(super) const SCENARIOS: &[Scenario] = &[RANDOM];

/// Situations in which the first sizes starve.
const STARVING: u32 = 5;
/// Draws until there are as many.
const MOST_DRAWS: u32 = 20;
/// How often larger sizes may be recommended until they carry the load.
const ROUNDS: usize = 6;
/// Bursts of one run.
const BURSTS: u32 = 8;

/// Takes the seed from `ZCRX_LAB_SEED` of the environment in which the lab is started.
const RANDOM: Scenario = Scenario {
    name: "recommended-sizes",
    about: "five foreign programs with random bursts, holds and rings starve for their areas; with the sizes that zcrxd \
            recommends, or those that it recommends once it has seen these not suffice, no allocation fails under the same \
            load, and none of these sizes loses more packets than the first",
    needs: NEEDS,
    proves: &[],
    limit: 2400,
    default: false,
    run: || {
        let seed = std::env::var("ZCRX_LAB_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        let mut random = Random::new(seed);
        let mut starving = 0;
        for draw in 1..=MOST_DRAWS {
            let situation = Situation::draw(&mut random);
            let starved = situation
                .ends_with_recommended_sizes()
                .with_context(|| format!("seed {seed}, draw {draw}: {situation:?}"))?;
            starving += u32::from(starved);
            if starving == STARVING {
                println!("seed {seed}: {starving} of {draw} situations starved, and no more");
                return Ok(());
            }
        }
        bail!("only {starving} of {MOST_DRAWS} situations starved")
    },
};

/// A program and its traffic.
#[derive(Clone, Copy, Debug)]
struct Situation {
    /// Descriptors of the NIC's ring.
    ring: u32,
    area: u32,
    connections: u32,
    /// What each socket takes, bytes.
    receive_buffer: u64,
    /// A burst on each connection, KiB.
    burst: u32,
    /// Between two bursts, milliseconds.
    pause: u32,
    /// The program holds each buffer so long, milliseconds.
    hold: u32,
}

/// What one run lost.
#[derive(Clone, Copy, Debug)]
struct Loss {
    failed_allocations: u64,
    dropped_packets: u64,
}

impl Situation {
    fn draw(random: &mut Random) -> Self {
        let ring = *random.one_of(&[32, 64, 128]);
        Self {
            ring,
            // The NIC's ring and the page pool's cache leave little.
            area: ring + 64 + random.below(192),
            connections: *random.one_of(&[1, 2, 4, 8]),
            receive_buffer: *random.one_of(&[64_u64, 128, 256]) << 10,
            burst: 64 << random.below(4),
            pause: 50 + random.below(500),
            hold: 1 + random.below(40),
        }
    }

    /// Whether the first sizes starved; fails unless recommended ones do not.
    fn ends_with_recommended_sizes(&self) -> Result<bool> {
        let nic = Nic::pair()?;
        nic.receive_buffers(self.receive_buffer, self.receive_buffer)?;
        nic.ethtool(&["-G", nic::RX, "rx", &self.ring.to_string()])?;
        let (first, mut sizes) = self.run(&nic, self.area, self.area.next_power_of_two())?;
        println!("{self:?}: {first:?}");
        if first.failed_allocations == 0 {
            drop(nic);
            nic::remove(TRANSFER_LIMIT)?;
            return Ok(false);
        }
        for _ in 0..ROUNDS {
            let recommended = sizes.context("no sizes are recommended for a queue that starved")?;
            let (area, entries) = (recommended.area_buffers as u32, recommended.refill_entries as u32);
            ensure!(area > self.area, "{area} buffers are recommended where {} starved", self.area);
            let (loss, next) = self.run(&nic, area, entries)?;
            println!("with {area} buffers and {entries} entries: {loss:?}");
            ensure!(
                loss.dropped_packets <= first.dropped_packets,
                "{area} buffers lose more packets than {}: {loss:?}, {first:?}",
                self.area
            );
            if loss.failed_allocations == 0 {
                drop(nic);
                nic::remove(TRANSFER_LIMIT)?;
                return Ok(true);
            }
            ensure!(recommended.at_least, "sizes that were said to suffice do not");
            sizes = next;
        }
        bail!("{ROUNDS} recommendations did not end it")
    }

    /// Runs the load against a program with these sizes: what was lost, and what zcrxd recommends then.
    fn run(&self, nic: &Nic, area: u32, refill_entries: u32) -> Result<(Loss, Option<Sizes>)> {
        let listen = Nic::address();
        let numbers = [nic::QUEUE, area, refill_entries].map(|number| number.to_string());
        let slow = format!("slow={}", self.hold);
        let arguments = ["--interface", nic::RX, "--queue", &numbers[0], "--listen", &listen];
        let sizes = ["--area-buffers", &numbers[1], "--refill-entries", &numbers[2]];
        let fault = ["--fault", &slow, "--fault-after", "0"];
        let mut foreign = Foreign::start(&nic.rx, &[&arguments[..], &sizes, &fault].concat())?;
        let daemon = watching(&nic.rx, &[])?;
        let before = counted(nic)?;
        let connections = self.connections.to_string();
        for _ in 0..BURSTS {
            Traffic::start(&nic.tx, &listen, u64::from(self.burst) << 10, &["--connections", &connections])?
                .finish(TRANSFER_LIMIT)?;
            std::thread::sleep(Duration::from_millis(u64::from(self.pause)));
        }
        let after = counted(nic)?;
        let loss = Loss {
            failed_allocations: after.failed_allocations - before.failed_allocations,
            dropped_packets: after.dropped_packets - before.dropped_packets,
        };
        let sizes = if loss.failed_allocations > 0 { Some(recommended(&daemon)?) } else { None };
        let truth = foreign.truth()?;
        ensure!(number(&truth, "mismatched_bytes")? == 0, "bytes are not what was sent: {truth}");
        foreign.quit()?;
        close(daemon)?;
        Ok((loss, sizes))
    }
}

/// What the NIC has counted so far.
fn counted(nic: &Nic) -> Result<Loss> {
    Ok(Loss {
        failed_allocations: nic.stat("rx1_alloc_fail")?,
        dropped_packets: nic.stat("rx1_drop_no_buffer")?,
    })
}
