//! Answers to "what if the sizes had been others", checked by the same queue of the model with those sizes.

use super::random::Random;
use super::{situations, sizes};
use crate::diagnose::queue_model::Queue;
use crate::diagnose::{Needs, Outcome, TriedSizes, WhatIf};

/// What came of answers.
#[derive(Clone, Debug, Default)]
pub struct Tried {
    /// Recordings that give no answer, such as those of a queue that ends at once.
    pub without: u64,
    /// Answers "would not have starved", for recordings without and with a starvation.
    pub not_starved: [u64; 2],
    /// Answers "would have starved", likewise.
    pub starved: [u64; 2],
    /// Answers "unknown", likewise.
    pub unknown: [u64; 2],
    /// Answers that the queue with those sizes contradicts.
    pub wrong: Vec<String>,
}

/// Tries so many recordings; the same seed gives the same ones.
pub fn what_if(cases: u64, seed: u64) -> Tried {
    let mut tried = Tried::default();
    for case in 0..cases {
        tried.try_one(case, seed);
    }
    tried
}

/// A queue before and after something happens to it, and the seconds of each.
struct Story {
    before: Queue,
    after: Queue,
    seconds: (u64, u64),
}

impl Story {
    fn draw(random: &mut Random) -> Self {
        if random.chance(0.3) {
            let bursty = sizes::bursty(random);
            return Self { before: bursty.clone(), after: bursty, seconds: (10, 10) };
        }
        if random.chance(0.3) {
            let healthy = situations::healthy(random);
            return Self { before: healthy.clone(), after: healthy, seconds: (10, 10) };
        }
        // A sink that takes nothing stops any area.
        let situation = loop {
            let drawn = situations::faulty(random);
            if drawn.faulty.sink.is_none() {
                break drawn;
            }
        };
        let trouble = random.whole(2, 20);
        Self {
            before: situation.healthy,
            after: situation.faulty,
            seconds: (situation.calm.min(10), trouble),
        }
    }

    /// Runs with other sizes, and gives the queue as it is in the end. The first phase's faults apply from the begin.
    fn run(&self, area: u64, refill: u64, needs: &mut Needs, mut random: Random) -> Queue {
        let with = |queue: &Queue| Queue { buffers: area, refill_entries: refill, ..queue.clone() };
        let mut queue = with(&self.before);
        queue.start(|sample| needs.take(&sample));
        let mut next = 0;
        for millisecond in 1..=(self.seconds.0 + self.seconds.1) * 1000 {
            if millisecond == self.seconds.0 * 1000 + 1 {
                let state = std::mem::take(&mut queue.state);
                queue = Queue { state, ..with(&self.after) };
            }
            queue.advance();
            if millisecond >= next {
                let cadence = queue.cadence.as_millis() as f64;
                next = millisecond + (cadence * (0.95 + random.share() * 0.2)) as u64;
                needs.take(&queue.sample());
            }
        }
        needs.take(&queue.sample());
        queue
    }
}

impl Tried {
    fn try_one(&mut self, case: u64, seed: u64) {
        let mut random = Random::new(seed ^ 0x3a17_1f00, case);
        let story = Story::draw(&mut random);
        let recorded = (story.before.buffers, story.before.refill_entries);
        let mut needs = Needs::default();
        story.run(recorded.0, recorded.1, &mut needs, random.clone());
        let Some(need) = needs.need() else {
            self.without += 1;
            return;
        };
        // Sizes of any kind, and sizes about the bounds.
        let bound = need.most.clone().unwrap_or(need.recorded_area);
        let any = (recorded.0 as f64 * random.between(0.2, 8.0)) as u64;
        let area = match random.whole(0, 4) {
            0 => bound,
            1 => bound.saturating_sub(random.whole(1, 200)),
            2 => need.least.saturating_sub(1),
            _ => any,
        }
        .clamp(1, u64::from(u32::MAX));
        let refill = if random.chance(0.5) { recorded.1 } else { 1 << random.whole(3, 15) };
        let sizes = TriedSizes { area: Some(area), refill: u32::try_from(refill).ok() };
        let answer = WhatIf::of(&need, &sizes);
        let queue = story.run(area, answer.refill_entries, &mut Needs::default(), random.clone());
        let starved = queue.lacked_buffers();
        let kind = usize::from(need.starved);
        let contradicted = match answer.outcome {
            Outcome::NotStarved => {
                self.not_starved[kind] += 1;
                starved
            }
            Outcome::Starved => {
                self.starved[kind] += 1;
                !starved
            }
            Outcome::Unknown => {
                self.unknown[kind] += 1;
                false
            }
        };
        if contradicted {
            self.wrong.push(format!(
                "case {case}: area {area} for {}, refill {refill} for {}, said {:?}, {answer:#?}\n{:#?}",
                recorded.0, recorded.1, answer.outcome, story.after
            ));
        }
    }

    /// The figures as rows of a Markdown table.
    pub fn rows(&self) -> String {
        let share = |unknown: u64, known: u64| 100.0 * unknown as f64 / (unknown + known).max(1) as f64;
        let known = |kind: usize| self.not_starved[kind] + self.starved[kind];
        format!(
            "| answers of `--what-if` that the same queue with those sizes contradicts | {} of {} |\n\
             | share of answers \"unknown\", recordings without a starvation | {:.0} % |\n\
             | share of answers \"unknown\", recordings with a starvation | {:.0} % |\n",
            self.wrong.len(),
            known(0) + known(1) + self.unknown.iter().sum::<u64>(),
            share(self.unknown[0], known(0)),
            share(self.unknown[1], known(1)),
        )
    }
}
