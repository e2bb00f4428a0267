//! The last samples of one queue, the facts of each (computed once, when it arrives), and a bounded memory of earlier ones.

use std::collections::VecDeque;
use std::time::Duration;

use super::change::{Change, some};
use super::floors::{Floors, LEAKED_SHARE};
use super::losses::Losses;
use super::placement::{Placement, available, held_references};
use super::step::Step;
use super::thresholds::CONSIDERABLE;
use crate::model::{QueueKey, QueueSample, Window};

/// When the owner returned buffers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Returns {
    /// The first sample that shows a return.
    pub first: Option<Duration>,
    /// The last sample that shows a return.
    pub last: Option<Duration>,
    /// The longest time without a return, while the owner held much, that ended with a return; as long as it can have been by the
    /// samples around it.
    pub longest_pause: Duration,
    /// Time between the last sample that shows a return and the sample before.
    last_span: Duration,
    /// Since when much is held, before the first return.
    held_much_since: Option<Duration>,
    /// The share of the area that was held in the sample before.
    held_before: Option<f64>,
    /// Entries returned since the first sample.
    pub total: u64,
}

/// When the owner did nothing although work waited for it: allocations failed, or payload filled its sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Absences {
    /// The longest that ended with the owner's return, as long as it can have been by the samples around it. The window of samples
    /// may be shorter than that.
    pub longest: Duration,
    /// Begin and end of the last step that shows the owner do something.
    last_active: Option<(Duration, Duration)>,
    /// Whether work has waited for the owner since then.
    work_waited: bool,
}

/// One generation of one queue: its last samples, and a bounded memory of earlier ones.
#[derive(Clone, Debug)]
pub struct History {
    window: Window,
    steps: VecDeque<Step>,
    floors: Floors,
    returns: Returns,
    absences: Absences,
    piled_up: PiledUp,
    /// Whether the owner ever received or read anything.
    received: bool,
    restarts: Option<(u64, Duration)>,
    losses: Losses,
    /// When a sample last had the stack of a consumer.
    stack_at: Option<Duration>,
}

/// Rises of what is held that make it pile up, at least, and the share of all of them that the largest may be. One rise between two
/// samples beside many returns is that of a load, or of an owner that works in rounds.
const RISES: usize = 4;
const LARGEST_RISE: f64 = 0.4;

/// Samples over which rises and returns are compared: an owner that returns in batches returns nothing in some of them.
const STRIDES: [usize; 3] = [1, 2, 4];

/// References that piled up with the owner while it returned others, and that never came back.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PiledUp {
    /// References.
    pub references: u64,
    /// Their share of all that was returned or piled up meanwhile, 0 to 1.
    pub share: f64,
    /// Rises that it piled up in.
    pub rises: usize,
    /// Of the references, those in rises beside so many returns that a leak explains them: an owner that cannot keep up keeps more.
    pub in_small_rises: u64,
}

impl PiledUp {
    /// The rise, in the steps of a window, of what the owner held from then on, in steps in which it returned about as much.
    fn of(steps: &VecDeque<Step>) -> Self {
        let of = STRIDES.map(|stride| Self::by(steps, stride));
        of.into_iter().max_by_key(|piled_up| piled_up.references).unwrap_or_default()
    }

    fn by(steps: &VecDeque<Step>, stride: usize) -> Self {
        let Some(mut least) = steps.back().and_then(|step| step.held) else { return Self::default() };
        // Nothing piled up with an owner that holds nothing.
        if least == 0 {
            return Self::default();
        }
        let (mut sum, mut largest, mut rises, mut returned, mut in_small_rises) = (0, 0, 0, 0, 0);
        // From the newest step back: what was held less later came back.
        let newest = steps.len() - 1;
        let ends = (stride..=newest).rev().step_by(stride);
        for end in ends {
            let Some(held) = steps[end - stride].held else { break };
            let rise = least.saturating_sub(held);
            let came_back: Option<u64> =
                steps.range(end - stride + 1..=end).map(|step| step.change.returned).sum();
            if let Some(came_back) = came_back
                && rise > 0
                && came_back * 2 >= rise
            {
                sum += rise;
                returned += came_back;
                largest = largest.max(rise);
                rises += 1;
                if rise as f64 <= LEAKED_SHARE * (rise + came_back) as f64 {
                    in_small_rises += rise;
                }
            }
            least = steps.range(end - stride..end).filter_map(|step| step.held).fold(least, u64::min);
        }
        if rises < RISES || largest as f64 > LARGEST_RISE * sum as f64 {
            return Self::default();
        }
        Self { references: sum, share: sum as f64 / (sum + returned) as f64, rises, in_small_rises }
    }
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
            absences: Absences::default(),
            piled_up: PiledUp::default(),
            received: false,
            restarts: None,
            losses: Losses::default(),
            stack_at: None,
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
        let mut consumers =
            sample.kernel.iter().flat_map(|kernel| &kernel.rings).filter_map(|ring| ring.consumer.as_ref());
        if consumers.any(|consumer| consumer.kernel_stack.is_some()) {
            self.stack_at = Some(sample.at);
        }
        let change = self.window.last().map_or_else(Change::default, |last| Change::between(last, &sample));
        let placement = Placement::of(&sample);
        let available = available(&sample, &placement);
        let step = Step {
            at: sample.at,
            placement,
            change,
            held: held_references(&sample),
            available,
            available_percent: placement.share(available).map(|share| (share * 100.0).round() as u8),
            bytes_per_second: change.rate(change.bytes).map(|rate| rate.round() as u64),
            refill_full: refill_full(self.window.last(), &sample),
            starving_since: sample.kernel.as_ref().and_then(|kernel| kernel.allocation?.starving_since),
            software_starving: sample.local.as_ref().and_then(|local| local.starving) == Some(true),
        };
        self.returns.take(&step);
        self.absences.take(&step);
        self.received |= change.shows_activity();
        self.floors.take(&step);
        self.losses.take(&step);
        if self.steps.len() == self.window.capacity() {
            self.steps.pop_front();
        }
        let held = step.held.unwrap_or(0);
        self.steps.push_back(step);
        self.window.push(sample);
        // The window forgets the rise before the owner's pause is over.
        let before = Some(self.piled_up).filter(|before| held >= before.references / 2).unwrap_or_default();
        let now = PiledUp::of(&self.steps);
        self.piled_up = if now.references >= before.references { now } else { before };
    }

    /// Whether one of the last samples has the stack of a consumer. Few have: it is read when a starvation begins.
    pub fn has_stack(&self) -> bool {
        let oldest = self.steps.front().map(|step| step.at);
        self.stack_at.is_some_and(|at| oldest.is_some_and(|oldest| at >= oldest))
    }

    /// References that piled up with the owner while it returned others, and that never came back.
    pub const fn piled_up(&self) -> PiledUp {
        self.piled_up
    }

    /// Moments in which packets were lost.
    pub const fn losses(&self) -> &Losses {
        &self.losses
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

    /// When the owner did nothing although work waited for it.
    pub const fn absences(&self) -> &Absences {
        &self.absences
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

impl Absences {
    fn take(&mut self, step: &Step) {
        let lacked = some(step.change.failures) || step.starving_since.is_some();
        let in_sockets = step.placement.share(step.placement.sockets);
        let waits = lacked || in_sockets.is_some_and(|share| share >= CONSIDERABLE);
        if step.change.shows_activity() {
            let before = step.at.saturating_sub(step.change.span);
            // In two steps in a row it did something all the time, as far as samples show.
            if let Some((began, ended)) = self.last_active
                && self.work_waited
                && ended < before
            {
                self.longest = self.longest.max(step.at.saturating_sub(began));
            }
            self.last_active = Some((before, step.at));
            self.work_waited = false;
        }
        self.work_waited |= waits;
    }
}

impl Returns {
    fn take(&mut self, step: &Step) {
        let held = step.placement.share(step.placement.held);
        // An owner that returns all at once holds nothing when the sample shows the return.
        let held_before = std::mem::replace(&mut self.held_before, held);
        let before = step.at.saturating_sub(step.change.span);
        if self.first.is_none() && held.is_some_and(|share| share >= HOLDS_MUCH) {
            self.held_much_since.get_or_insert(before);
        }
        let Some(returned) = step.change.returned else { return };
        self.total += returned;
        if returned == 0 {
            return;
        }
        // What an owner held before its first return ended with a return too.
        let begin = self.held_much_since.take().unwrap_or(before);
        let first = *self.first.get_or_insert(before);
        let last = self.last.unwrap_or(begin.min(first));
        // Two steps in a row with returns show no pause.
        let pause =
            if last < before { step.at.saturating_sub(last) + self.last_span } else { Duration::ZERO };
        let much = |held: Option<f64>| held.is_none_or(|share| share >= HOLDS_MUCH);
        if much(held) || much(held_before) {
            self.longest_pause = self.longest_pause.max(pause);
        }
        self.last = Some(step.at);
        self.last_span = step.change.span;
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
