//! Hours of healthy queues, extreme ones included: no alarm may be raised.

use super::random::Random;
use super::{Observed, situations};
use crate::diagnose::queue_model::Queue;
use crate::model::Cause;

/// What came of healthy hours.
#[derive(Clone, Debug, Default)]
pub struct Healthy {
    /// Hours simulated.
    pub hours: f64,
    /// Episodes raised although no packet was lost and no receive failed.
    pub false_alarms: Vec<String>,
    /// Hours in which the model itself lost packets: these count as neither.
    pub lossy: u64,
}

/// The share of the phases that begin with a restart of the hardware queue by its driver.
const RESTARTED: f64 = 0.03;

/// Runs so many hours, an hour a queue; the same seed gives the same ones.
pub fn healthy_hours(hours: u64, seed: u64) -> Healthy {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let parts: Vec<Healthy> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                scope.spawn(move || {
                    let mut part = Healthy::default();
                    for hour in (worker..hours).step_by(threads as usize) {
                        part.hour(hour, seed, 3600);
                    }
                    part
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("an hour does not panic")).collect()
    });
    parts.into_iter().fold(Healthy::default(), |mut sum, part| {
        sum.hours += part.hours;
        sum.false_alarms.extend(part.false_alarms);
        sum.lossy += part.lossy;
        sum
    })
}

impl Healthy {
    /// One queue for so many seconds, whose load and owner change every minute or so.
    pub(super) fn hour(&mut self, number: u64, seed: u64, seconds: u64) {
        let mut random = Random::new(seed ^ 0x5eed_0fea, number);
        // Of its own, so that an hour's load does not depend on it.
        let mut further = Random::new(seed ^ 0x0be5_1de5, number);
        let shared = further.chance(0.15);
        let queue = Queue { shared, ..situations::healthy(&mut random) };
        let load = queue.arrivals_per_second;
        let (bursts, batch) = (queue.bursts, queue.return_batch);
        let mut observed = Observed::new(queue, random);
        let mut alarms: Vec<String> = Vec::new();
        let mut left = seconds;
        while left > 0 {
            let phase = observed.random.whole(5, 120).min(left);
            left -= phase;
            let doing = change(&mut observed.queue, &mut observed.random, load, bursts, batch);
            if further.chance(RESTARTED) {
                observed.queue.reset();
            }
            let mut named: Option<(Option<Cause>, String)> = None;
            observed.run(phase, |_, tracker| {
                if let Some(episode) = tracker.open() {
                    let said = episode
                        .diagnosis
                        .alarms
                        .first()
                        .map_or_else(String::new, |alarm| alarm.words.clone());
                    named.get_or_insert((episode.cause(), format!("{}: {said}", episode.trouble.name())));
                }
            });
            if let Some((cause, alarm)) = named {
                alarms.push(format!(
                    "hour {number}, {doing}: {alarm}, {}",
                    cause.map_or("unknown", Cause::name)
                ));
            }
        }
        let ledger = observed.queue.ledger();
        if ledger.packets_lost > 0 || ledger.errors > 0 {
            self.lossy += 1;
            return;
        }
        self.hours += seconds as f64 / 3600.0;
        self.false_alarms.extend(alarms.into_iter().take(1));
    }
}

/// What a healthy owner and its senders do next.
fn change(
    queue: &mut Queue,
    random: &mut Random,
    load: f64,
    bursts: Option<u64>,
    batch: u64,
) -> &'static str {
    queue.arrivals_per_second = load;
    queue.bursts = bursts;
    queue.return_batch = batch;
    queue.keeps = 0;
    queue.returns_per_second = 10_000_000.0;
    queue.visits_every_ms = 0;
    let room = queue.buffers.saturating_sub(queue.ring + 192 + queue.socket_limit);
    match random.whole(0, 8) {
        0 => {
            queue.arrivals_per_second = 0.0;
            "idle"
        }
        1 => {
            queue.arrivals_per_second = load * random.share();
            "less load"
        }
        2 => {
            // A cache, a loader: much is held on purpose.
            queue.keeps = (room as f64 * random.between(0.2, 0.8)) as u64;
            "keeps many"
        }
        3 => {
            queue.keeps = (room as f64 * random.between(0.2, 0.8)) as u64;
            queue.arrivals_per_second = load * 0.02;
            "keeps many on an idle link"
        }
        4 => {
            // A saw-tooth: much is returned at once.
            queue.return_batch = (room / 2).max(1);
            "returns much at once"
        }
        5 => {
            queue.bursts = Some(random.whole(2, (queue.ring / 2).max(3)));
            "bursts"
        }
        6 => {
            // Comes to its ring a few times a second, and has room for that.
            let full = room as f64 / load * 1000.0;
            queue.visits_every_ms = (full * random.share() / 4.0) as u64;
            "seldom comes to its ring"
        }
        _ => "works",
    }
}
