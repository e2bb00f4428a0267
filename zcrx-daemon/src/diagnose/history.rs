//! The last samples of one queue, the facts of each (computed once, when it arrives), and a bounded memory of earlier ones.

use std::collections::VecDeque;
use std::time::Duration;

use super::change::Change;
use super::floors::Floors;
use super::placement::{Placement, available, held_references};
use super::step::Step;
use crate::model::{QueueKey, QueueSample, Window};

/// When the owner returned buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Returns {
    /// The first sample that shows a return.
    pub first: Option<Duration>,
    /// The last sample that shows a return.
    pub last: Option<Duration>,
    /// The longest time without a return, while the owner held much, that ended with a return.
    pub longest_pause: Duration,
    /// Entries returned since the first sample.
    pub total: u64,
}

/// One generation of one queue: its last samples, and a bounded memory of earlier ones.
#[derive(Clone, Debug)]
pub struct History {
    window: Window,
    steps: VecDeque<Step>,
    floors: Floors,
    returns: Returns,
    /// References that piled up with the owner while it returned others, and that never came back.
    piled_up: u64,
    /// Whether the owner ever received or read anything.
    received: bool,
    restarts: Option<(u64, Duration)>,
}

/// Rises of what is held that make it pile up, at least, and the share of all of them that the largest may be. One rise between two
/// samples beside many returns is that of a load, or of an owner that works in rounds.
const RISES: usize = 4;
const LARGEST_RISE: f64 = 0.4;

/// The rise, in the steps of a window, of what the owner held from then on, in steps in which it returned as much.
fn piled_up(steps: &VecDeque<Step>) -> u64 {
    let Some(mut least) = steps.back().and_then(|step| step.held) else { return 0 };
    let (mut sum, mut largest, mut rises) = (0, 0, 0);
    // From the newest step back: what was held less later came back.
    for (earlier, step) in steps.iter().zip(steps.iter().skip(1)).rev() {
        let Some(held) = earlier.held else { break };
        let rise = least.saturating_sub(held);
        if rise > 0 && step.change.returned >= Some(rise) {
            sum += rise;
            largest = largest.max(rise);
            rises += 1;
        }
        least = least.min(held);
    }
    if rises >= RISES && largest as f64 <= LARGEST_RISE * sum as f64 { sum } else { 0 }
}

/// The share of the area from which a pause of the owner matters.
const HOLDS_MUCH: f64 = 0.25;

impl History {
    /// Creates an empty history that keeps the last `samples` samples.
    pub fn new(samples: usize) -> Self {
        let window = Window::new(samples);
        let steps = VecDeque::with_capacity(window.capacity());
        Self {
            window,
            steps,
            floors: Floors::default(),
            returns: Returns::default(),
            piled_up: 0,
            received: false,
            restarts: None,
        }
    }

    /// Adds a sample. A sample of another queue or generation begins a new history; a sample that is not newer than the
    /// last is ignored.
    pub fn push(&mut self, sample: QueueSample) {
        if let Some(last) = self.window.last() {
            if last.key != sample.key || last.generation != sample.generation {
                *self = Self::new(self.window.capacity());
            } else if sample.at <= last.at {
                return;
            }
        }
        let pool = |sample: &QueueSample| Some(sample.kernel.as_ref()?.pool?.id);
        if self.window.last().and_then(pool).zip(pool(&sample)).is_some_and(|(before, now)| before != now) {
            self.restarts = Some((self.restarts.map_or(1, |(count, _)| count + 1), sample.at));
        }
        let change = self.window.last().map_or_else(Change::default, |last| Change::between(last, &sample));
        let step = Step {
            at: sample.at,
            placement: Placement::of(&sample),
            change,
            held: held_references(&sample),
            available: available(&sample),
            refill_full: refill_full(self.window.last(), &sample),
            starving_since: sample.kernel.as_ref().and_then(|kernel| kernel.allocation?.starving_since),
            software_starving: sample.local.as_ref().and_then(|local| local.starving) == Some(true),
        };
        self.returns.take(&step);
        self.received |= change.bytes.is_some_and(|bytes| bytes > 0)
            || change.cq_read.is_some_and(|read| read > 0)
            || change.returned.is_some_and(|returned| returned > 0);
        self.floors.take(&step);
        if self.steps.len() == self.window.capacity() {
            self.steps.pop_front();
        }
        let held = step.held.unwrap_or(0);
        self.steps.push_back(step);
        self.window.push(sample);
        // The window forgets the rise before the owner's pause is over.
        self.piled_up = piled_up(&self.steps).max(if held < self.piled_up / 2 { 0 } else { self.piled_up });
    }

    /// References that piled up with the owner while it returned others, and that never came back.
    pub const fn piled_up(&self) -> u64 {
        self.piled_up
    }

    /// Renames the queue.
    pub(super) fn rename(&mut self, key: &QueueKey) {
        self.window.rename(key);
    }

    /// Number of restarts of the hardware queue by the driver, and the time of the last: each brings another page pool.
    pub const fn restarts(&self) -> Option<(u64, Duration)> {
        self.restarts
    }

    /// The last samples.
    pub const fn window(&self) -> &Window {
        &self.window
    }

    /// The newest sample.
    pub fn last(&self) -> Option<&QueueSample> {
        self.window.last()
    }

    /// The last samples, oldest first.
    pub fn samples(&self) -> impl DoubleEndedIterator<Item = &QueueSample> + ExactSizeIterator {
        self.window.samples()
    }

    /// The facts of each of the last samples, oldest first.
    pub const fn steps(&self) -> &VecDeque<Step> {
        &self.steps
    }

    /// Minimum of held buffers over time.
    pub const fn floors(&self) -> &Floors {
        &self.floors
    }

    /// When the owner returned buffers.
    pub const fn returns(&self) -> &Returns {
        &self.returns
    }

    /// Whether a sample has ever shown the owner receive, read a completion or return a buffer.
    pub const fn received(&self) -> bool {
        self.received
    }
}

/// Whether the refill ring was full: in this sample, or when the kernel came for entries since the one before.
fn refill_full(before: Option<&QueueSample>, now: &QueueSample) -> bool {
    let Some(kernel) = &now.kernel else { return false };
    let Some(refill) = kernel.refill else { return false };
    let most = kernel.watermarks.and_then(|watermarks| watermarks.most_pending);
    let fullest = |sample: &QueueSample| Some(sample.kernel.as_ref()?.allocation?.fullest);
    let risen =
        before.and_then(fullest).zip(fullest(now)).filter(|(before, now)| now > before).map(|(_, now)| now);
    refill.entries > 0
        && [Some(refill.pending()), most, risen].into_iter().flatten().any(|most| most >= refill.entries)
}

impl Returns {
    fn take(&mut self, step: &Step) {
        let Some(returned) = step.change.returned else { return };
        self.total += returned;
        if returned == 0 {
            return;
        }
        let before = step.at.saturating_sub(step.change.span);
        let first = *self.first.get_or_insert(before);
        let pause = before.saturating_sub(self.last.unwrap_or(first));
        let held_much = step.placement.share(step.placement.held).is_none_or(|share| share >= HOLDS_MUCH);
        if held_much {
            self.longest_pause = self.longest_pause.max(pause);
        }
        self.last = Some(step.at);
    }

    /// Time for which the owner had returned buffers when it stopped.
    pub fn lasted(&self) -> Duration {
        self.last.zip(self.first).map_or(Duration::ZERO, |(last, first)| last.saturating_sub(first))
    }
}

impl From<&Window> for History {
    fn from(window: &Window) -> Self {
        let mut history = Self::new(window.capacity());
        window.samples().cloned().for_each(|sample| history.push(sample));
        history
    }
}
