//! The least that an owner held over stretches of time: what it works on goes up and down, what it lost stays.

use std::collections::VecDeque;
use std::time::Duration;

use super::change::some;
use super::step::Step;

/// The least time of a stretch, and the least number of samples in it: a single sample may catch the owner at any point of
/// its work.
const STRETCH: Duration = Duration::from_secs(2);
const STRETCH_SAMPLES: u32 = 3;

/// Stretches kept: two minutes of a daemon that samples every second.
const STRETCHES: usize = 60;

/// Minutes kept: 24 hours, in 56 KiB a queue.
const MINUTES: usize = 24 * 60;
const MINUTE: Duration = Duration::from_mins(1);

/// The share of the area by which the least held must have grown to count as shown, over at least [`SHOWN_STRETCHES`].
const SHOWN_GROWTH: f64 = 0.04;
const SHOWN_STRETCHES: usize = 4;

/// The share of what arrives that a leak keeps at most while the rest still comes back. An owner that keeps more is one
/// that cannot keep up; a leak that keeps all shows by its returns, which end.
pub(super) const LEAKED_SHARE: f64 = 0.1;

/// Over how much of the last day a slow leak must have grown, and by which share of the area.
const SLOW_MINUTES: usize = 30;
const SLOW_GROWTH: f64 = 0.08;

/// Minutes in which what a slow leak took did not come back: a busy hour of a healthy queue has a quiet moment in them.
const CONFIRMING_MINUTES: usize = 10;

/// One part of so many of the area is the level of the begin: a rise by less is that of a moment.
const LEVEL_PARTS: u64 = 200;

/// What a leak looks like in stretches: one part of so many of its growth lies in each half at least, it rises in this share of the
/// stretches, no rise is a larger share of the growth than this, and this share of the growth comes beside returns. A load that changed
/// once, or a cache that filled, rises at once, or while nothing comes back.
const HALF_PARTS: u64 = 4;
const OFTEN: f64 = 0.75;
const LARGEST: f64 = 0.4;
const BESIDE_RETURNS: f64 = 0.8;

/// The same of a slow leak: one part of so many of its growth in each third of the time, on as many points as pairs are quickly
/// compared, at least so many references, and no more returns than so many times those of the first half: a busier queue holds more.
const THIRD_PARTS: u64 = 5;
const SLOW_POINTS: usize = 40;
const SLOW_LEAST: u64 = 16;
const BUSIER: f64 = 1.25;

/// A stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Its begin.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
    /// The least held, references.
    pub least: u32,
    /// The most that was out of the allocator's reach, buffers.
    pub most_out: u32,
    /// The least that could be allocated, buffers.
    pub least_available: Option<u32>,
    /// Entries returned.
    pub returned: u64,
    /// Whether the refill ring was found full.
    pub refill_full: bool,
    /// Samples in it.
    samples: u32,
}

/// What a leak has taken, as far as the least held shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// References lost so far.
    pub lost: u64,
    /// References lost each second.
    pub per_second: f64,
    /// Time over which it was seen.
    pub span: Duration,
    /// Share of the arrivals that it takes.
    pub share: f64,
    /// Whether the refill ring was full while it grew.
    pub refill_full: bool,
}

/// Stretches and minutes of one queue.
#[derive(Clone, Debug, Default)]
pub struct Floors {
    present: Option<Stretch>,
    stretches: VecDeque<Stretch>,
    minutes: VecDeque<Stretch>,
    minute: Option<Stretch>,
    shown: Option<Leak>,
    slow: Option<Leak>,
}

impl Stretch {
    fn begin(step: &Step, held: u32) -> Self {
        Self {
            from: step.at.saturating_sub(step.change.span),
            to: step.at,
            least: held,
            most_out: 0,
            least_available: None,
            returned: 0,
            refill_full: false,
            samples: 0,
        }
    }

    fn merge(&mut self, other: &Self) {
        self.to = other.to;
        self.least = self.least.min(other.least);
        self.most_out = self.most_out.max(other.most_out);
        self.least_available = [self.least_available, other.least_available].into_iter().flatten().min();
        self.returned += other.returned;
        self.refill_full |= other.refill_full;
        self.samples += other.samples;
    }

    const fn span(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

fn small(count: u64) -> u32 {
    count.try_into().unwrap_or(u32::MAX)
}

impl Floors {
    /// Takes in what a sample shows.
    pub(super) fn take(&mut self, step: &Step) {
        let Some(held) = step.held else {
            *self = Self::default();
            return;
        };
        let placement = &step.placement;
        // What moved while the sample was read may be counted as held.
        let held = held.saturating_sub(placement.error.unwrap_or(0));
        let mut now = Stretch::begin(step, small(held));
        let user =
            placement.held.unwrap_or(0) + placement.completed.unwrap_or(0) + placement.stashed.unwrap_or(0);
        now.most_out = small(user + placement.sockets.unwrap_or(0));
        now.least_available = step.available.map(small);
        now.returned = step.change.returned.unwrap_or(0);
        now.refill_full = step.refill_full;
        now.samples = 1;
        let present = self.present.get_or_insert(now);
        if present.samples > 1 || present.to != now.to {
            present.merge(&now);
        }
        // What was held less than since did come back.
        for leak in [&mut self.shown, &mut self.slow] {
            if leak.is_some_and(|leak| held < leak.lost / 2) {
                *leak = None;
            } else if let Some(leak) = leak {
                leak.lost = leak.lost.min(held);
            }
        }
        if present.samples < STRETCH_SAMPLES || present.span() < STRETCH {
            return;
        }
        let full = *present;
        self.present = None;
        if self.stretches.len() == STRETCHES {
            self.stretches.pop_front();
        }
        self.stretches.push_back(full);
        match &mut self.minute {
            Some(minute) => minute.merge(&full),
            None => self.minute = Some(full),
        }
        let total = placement.total.unwrap_or(u64::MAX);
        if let Some(minute) = self.minute.take_if(|minute| minute.span() >= MINUTE) {
            if self.minutes.len() == MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(minute);
            self.slow = slow_leak(&self.minutes, total, held).or(self.slow);
        }
        // While allocations or copies fail, an owner holds all that it can get.
        let starves = step.starving_since.is_some() || some(step.change.enomem);
        if !starves
            && let Some(leak) = leak(&self.stretches, held, total)
            && leak.lost as f64 >= SHOWN_GROWTH * total as f64
            && self.shown.is_none_or(|shown| leak.lost > shown.lost)
        {
            self.shown = Some(leak);
        }
    }

    /// What a leak was seen to take, before allocations failed: remembered until it comes back.
    pub const fn shown(&self) -> Option<&Leak> {
        self.shown.as_ref()
    }

    /// A leak so slow that only hours show it.
    pub const fn slow(&self) -> Option<&Leak> {
        self.slow.as_ref()
    }

    /// The last stretches, oldest first.
    pub const fn stretches(&self) -> &VecDeque<Stretch> {
        &self.stretches
    }

    /// The last minutes, oldest first, up to 24 hours.
    pub const fn minutes(&self) -> &VecDeque<Stretch> {
        &self.minutes
    }
}

/// Stretches that are taken together where single ones show no leak: what is off in each sample evens out over more of them.
const TOGETHER: [usize; 2] = [1, 4];

/// The newest rise that looks like a leak, in the shortest stretches that show one.
fn leak(stretches: &VecDeque<Stretch>, held: u64, total: u64) -> Option<Leak> {
    TOGETHER.into_iter().find_map(|count| {
        let merged = (count > 1).then(|| together(stretches, count));
        rise(merged.as_ref().unwrap_or(stretches), held, total)
    })
}

/// So many stretches taken as one, the newest ones whole.
fn together(stretches: &VecDeque<Stretch>, count: usize) -> VecDeque<Stretch> {
    let mut merged: VecDeque<Stretch> = VecDeque::with_capacity(stretches.len() / count + 1);
    for (position, stretch) in stretches.iter().skip(stretches.len() % count).enumerate() {
        match merged.back_mut() {
            Some(last) if position % count > 0 => last.merge(stretch),
            _ => merged.push_back(*stretch),
        }
    }
    merged
}

/// The newest rise of what never came back, if that is what a leak looks like: it rises in most stretches, in both halves,
/// and in each while the rest comes back. What an owner keeps on purpose rises while nothing comes back.
fn rise(stretches: &VecDeque<Stretch>, held: u64, total: u64) -> Option<Leak> {
    let points = never_came_back(stretches, held);
    let level = points.first()?.0 + total / LEVEL_PARTS;
    let begin = points.iter().rposition(|point| point.0 <= level).unwrap_or(0);
    let points = &points[begin..];
    if points.len() <= SHOWN_STRETCHES {
        return None;
    }
    let (first, last) = (points.first()?, points.last()?);
    let growth = last.0.checked_sub(first.0).filter(|&growth| growth > 0)?;
    let mut returned = 0;
    let (mut rises, mut beside_returns, mut largest, mut refill_full) = (0, 0, 0, false);
    for (pair, stretch) in points.windows(2).zip(stretches.iter().skip(begin + 1)) {
        let rise = pair[1].0 - pair[0].0;
        returned += stretch.returned;
        refill_full |= stretch.refill_full;
        rises += usize::from(rise > 0);
        largest = largest.max(rise);
        if rise as f64 <= LEAKED_SHARE * (rise + stretch.returned) as f64 {
            beside_returns += rise;
        }
    }
    let half = points[points.len() / 2].0;
    let steady = (half - first.0) * HALF_PARTS >= growth && (last.0 - half) * HALF_PARTS >= growth;
    // A load that changed once, or a cache that filled, rises at once.
    let often =
        rises as f64 >= OFTEN * (points.len() - 1) as f64 && largest as f64 <= LARGEST * growth as f64;
    let span = last.1.saturating_sub(first.1);
    (steady && often && beside_returns as f64 >= BESIDE_RETURNS * growth as f64).then(|| Leak {
        lost: last.0,
        per_second: growth as f64 / span.as_secs_f64().max(0.001),
        span,
        share: growth as f64 / (growth + returned) as f64,
        refill_full,
    })
}

/// The least held in each stretch, bounded by what was held at any time after it: with the time of its end. The newest
/// stretch is left out: nothing confirms it yet.
fn never_came_back(stretches: &VecDeque<Stretch>, held: u64) -> Vec<(u64, Duration)> {
    let mut bound = held;
    let mut points: Vec<(u64, Duration)> = Vec::with_capacity(stretches.len());
    for (age, stretch) in stretches.iter().rev().enumerate() {
        bound = bound.min(u64::from(stretch.least));
        if age > 0 {
            points.push((bound, stretch.to));
        }
    }
    points.reverse();
    points
}

/// A leak over the last hours, by the median of all slopes between points (Theil-Sen).
fn slow_leak(minutes: &VecDeque<Stretch>, total: u64, held: u64) -> Option<Leak> {
    let mut points = never_came_back(minutes, held);
    points.truncate(points.len().saturating_sub(CONFIRMING_MINUTES));
    if points.len() < SLOW_MINUTES {
        return None;
    }
    let sparse: Vec<_> = points.iter().step_by(points.len().div_ceil(SLOW_POINTS)).copied().collect();
    let mut slopes: Vec<f64> = Vec::with_capacity(sparse.len() * sparse.len() / 2);
    for (index, first) in sparse.iter().enumerate() {
        for last in &sparse[index + 1..] {
            let seconds = last.1.saturating_sub(first.1).as_secs_f64();
            slopes.push((last.0 as f64 - first.0 as f64) / seconds.max(1.0));
        }
    }
    let median = slopes.len() / 2;
    let per_second = *slopes.select_nth_unstable_by(median, f64::total_cmp).1;
    let (first, last) = (sparse.first()?, sparse.last()?);
    let growth = last.0.saturating_sub(first.0);
    let span = last.1.saturating_sub(first.1);
    // A third of the time, a third of the growth: a step, or a load that grew once, is no leak.
    let third = |part: usize| {
        let from = sparse[(sparse.len() - 1) * part / 3].0;
        sparse[(sparse.len() - 1) * (part + 1) / 3].0.saturating_sub(from)
    };
    let steady = (0..3).all(|part| third(part) * THIRD_PARTS >= growth);
    // The least of what goes up and down at random rises a few times too: of 20 pairs of points, seven times. A leak of as many
    // buffers shows in almost all of them.
    let rises = sparse.windows(2).filter(|pair| pair[1].0 > pair[0].0).count() as u64;
    let often = rises * 2 >= growth.min(sparse.len() as u64 - 1);
    let half = minutes.len() / 2;
    let returned =
        |stretches: &mut dyn Iterator<Item = &Stretch>| stretches.map(|one| one.returned).sum::<u64>();
    let (before, after) =
        (returned(&mut minutes.iter().take(half)), returned(&mut minutes.iter().skip(half)));
    // A queue that grows busier holds more.
    let busier = after as f64 > before as f64 * BUSIER;
    let returned = before + after;
    (steady
        && often
        && !busier
        && returned > 0
        && growth >= SLOW_LEAST
        && growth as f64 >= SLOW_GROWTH * total as f64)
        .then(|| Leak {
            lost: last.0,
            per_second,
            span,
            share: growth as f64 / (growth + returned) as f64,
            refill_full: minutes.iter().any(|minute| minute.refill_full),
        })
}
