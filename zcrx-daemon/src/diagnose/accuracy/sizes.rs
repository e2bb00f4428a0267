//! Recommended sizes, applied to random bursty queues: they must lose nothing that the old sizes did not lose, and end a starvation.

use std::time::Duration;

use super::Observed;
use super::random::Random;
use crate::diagnose::forecast::{Sizes, forecast};
use crate::diagnose::queue_model::Queue;

/// For how long a queue is observed before its advice is applied, and for how long the new sizes are tried, seconds.
const OBSERVED: u64 = 60;
const TRIED: u64 = 90;

/// How often advice may be applied to a queue that starves: how much more it would take shows only once it has more.
const ROUNDS: u32 = 4;

/// What came of advice.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// Queues that got sizes.
    pub advised: u64,
    /// Queues that got none, with a reason.
    pub refused: u64,
    /// Queues that lost more packets with the recommended sizes than with the old ones on the same traffic.
    pub harmed: Vec<String>,
    /// Queues that were well while they were observed, and lost packets with either sizes: larger bursts came later.
    pub surprised: u64,
    /// Queues that lost packets.
    pub starved: u64,
    /// Of these, queues that lost none with the recommended sizes, by how often advice was applied.
    pub cured: [u64; ROUNDS as usize],
    /// Of these, queues that still lost packets in the end.
    pub starving: Vec<String>,
    /// Sum of the recommended areas by the sum of the old ones.
    pub areas: (u64, u64),
}

/// Applies advice to so many queues; the same seed gives the same ones.
pub fn advice(cases: u64, seed: u64) -> Advice {
    let mut found = Advice::default();
    for case in 0..cases {
        found.apply(case, seed);
    }
    found
}

/// A queue with bursts, an owner that comes late, and an area between tight and roomy.
pub(super) fn bursty(random: &mut Random) -> Queue {
    let ring = random.of(&[64, 128, 256, 512]);
    let buffers = ((ring as f64 + 128.0) * random.between(0.9, 8.0)) as u64;
    let load = random.between(1_000.0, 40_000.0);
    let most = (buffers as f64 * random.between(0.1, 1.2)) as u64;
    Queue {
        buffers,
        ring,
        arrivals_per_second: load,
        bursts: Some(most.max(2)),
        refill_entries: buffers.next_power_of_two().min(32_768),
        cq_entries: 65_536,
        socket_limit: buffers * 2,
        return_batch: random.whole(1, (buffers / 16).max(1)),
        hold_ms: if random.chance(0.4) { random.whole(1, 20) } else { 0 },
        visits_every_ms: if random.chance(0.4) { random.whole(1, 30) } else { 0 },
        cadence: Duration::from_millis(random.of(&[250, 500, 1000, 2000])),
        ..Queue::default()
    }
}

/// Runs for so many seconds; bursts differ from second to second. Gives the packets lost, and the advice at the end.
fn lost(queue: &Queue, random: Random, seconds: u64) -> (u64, Result<Sizes, String>) {
    let most = queue.bursts.unwrap_or(2);
    let mut observed = Observed::new(queue.clone(), random);
    for _ in 0..seconds {
        // A burst of the largest size comes now and then.
        let size =
            if observed.random.chance(0.15) { most } else { observed.random.whole(most / 3 + 1, most) };
        observed.queue.bursts = Some(size);
        observed.run(1, |_, _| {});
    }
    let forecast = forecast(observed.tracker.history()).expect("samples");
    let sizes = match forecast.sizes {
        crate::diagnose::Answer::Known(sizes) => Ok(sizes),
        crate::diagnose::Answer::Unknown(why) => Err(why),
    };
    (observed.queue.ledger().packets_lost, sizes)
}

impl Advice {
    fn apply(&mut self, case: u64, seed: u64) {
        let mut random = Random::new(seed ^ 0x0051_2e50, case);
        let mut queue = bursty(&mut random);
        let (before, sizes) = lost(&queue, random.clone(), OBSERVED);
        self.starved += u64::from(before > 0);
        let Ok(mut sizes) = sizes else {
            self.refused += 1;
            return;
        };
        self.advised += 1;
        let old = queue.clone();
        for round in 0..ROUNDS {
            queue.buffers = sizes.area_buffers;
            queue.refill_entries = u64::from(sizes.refill_entries);
            // Other bursts than those that were observed.
            random.next();
            let (after, again) = lost(&queue, random.clone(), TRIED);
            let (with_old, _) = lost(&old, random.clone(), TRIED);
            let words = format!(
                "case {case}: {} buffers for {}, ring {}, bursts of {:?}, {after} lost, {with_old} with the old sizes",
                sizes.area_buffers, old.buffers, queue.ring, queue.bursts
            );
            if after > with_old {
                self.harmed.push(words);
                break;
            }
            if after == 0 {
                self.cured[round as usize] += u64::from(before > 0);
                break;
            }
            if before == 0 {
                // Larger bursts came than any that was observed.
                self.surprised += 1;
                break;
            }
            match again {
                Ok(again) if round + 1 < ROUNDS && again.area_buffers > queue.buffers => sizes = again,
                _ => {
                    self.starving.push(words);
                    break;
                }
            }
        }
        self.areas = (self.areas.0 + queue.buffers, self.areas.1 + old.buffers);
    }

    /// The figures as rows of a Markdown table.
    pub fn rows(&self) -> String {
        let cured: u64 = self.cured.iter().sum();
        format!(
            "| bursty queues that got sizes | {} ({} got none, with a reason) |\n\
             | queues that lost more with the new sizes than with the old ones on the same traffic | {} |\n\
             | queues that lost with both, since larger bursts came than were observed | {} |\n\
             | queues that had lost packets | {} |\n\
             | of these, cured | {cured} ({} at once) |\n\
             | of these, still losing packets | {} |\n\
             | recommended areas as a share of the old ones | {:.0} % |\n",
            self.advised,
            self.refused,
            self.harmed.len(),
            self.surprised,
            self.starved,
            self.cured[0],
            self.starving.len(),
            self.areas.0 as f64 / self.areas.1.max(1) as f64 * 100.0
        )
    }
}
