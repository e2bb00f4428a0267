//! What the owner of a queue does: as its ring shows it, and as the scheduler has its thread.

use std::time::Duration;

use super::Facts;
use crate::diagnose::change::Change;
use crate::diagnose::history::History;
use crate::diagnose::thresholds::{CONSIDERABLE, LASTING, NO_CPU_TIME, RECENT, WITHOUT_CPU};
use crate::model::{QueueRing, QueueSample, RunState};

/// What the owner does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnerActivity {
    /// Whether it did anything in the recent past: received, read completions, or returned buffers. `None` where that is
    /// unknown.
    pub active: Option<bool>,
    /// Whether it was ever seen to do anything.
    pub ever_active: bool,
    /// For how long it has done nothing, as far as samples go.
    pub idle_for: Duration,
    /// The longest time for which it did nothing although work waited for it, and then came back.
    pub longest_absence: Duration,
    /// Why its thread does not run, where the scheduler says so.
    pub halt: Option<Halt>,
    /// Whether its thread sleeps in the ring until completions come: it is idle, not stuck.
    pub waits_in_ring: Option<bool>,
    /// Whether work of the ring waits that only the owner's own system call can do.
    pub work_pending: Option<bool>,
}

/// Why a thread does not run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Halt {
    /// A state of the scheduler in which no work is done.
    State(RunState),
    /// `cpu.max` of its cgroup held it back for this share of the time, 0 to 1.
    Throttled(f64),
    /// It was ready to run, and had no CPU for this share of the time, 0 to 1.
    NoCpu(f64),
}

impl OwnerActivity {
    pub(super) fn of(history: &History, recent: &Change) -> Self {
        let known = recent.cq_read.is_some() || recent.returned.is_some();
        let steps = history.steps();
        let now = history.last();
        let at = now.map_or(Duration::ZERO, |sample| sample.at);
        let last = steps.iter().rev().find(|step| step.change.shows_activity()).or_else(|| steps.front());
        let rings = now.and_then(|sample| sample.kernel.as_ref()).map(|kernel| kernel.rings.as_slice());
        let rings = rings.unwrap_or_default();
        Self {
            active: (known && recent.span >= RECENT / 2 || recent.shows_activity())
                .then(|| recent.shows_activity()),
            ever_active: history.received(),
            longest_absence: history.absences().longest,
            idle_for: last.map_or(Duration::ZERO, |step| at.saturating_sub(step.at)),
            halt: halt(history),
            waits_in_ring: rings
                .iter()
                .map(|ring| ring.waiting)
                .reduce(|all, one| Some(all? && one?))
                .flatten(),
            work_pending: rings
                .iter()
                .map(|ring| ring.work_pending)
                .reduce(|any, one| Some(any? || one?))
                .flatten(),
        }
    }
}

/// For how long an owner must not have entered its ring to have gone silent: longer than it takes to see that packets are lost.
const SILENT: Duration = Duration::from_millis(1500);

impl Facts<'_> {
    /// Whether an owner that received before no longer enters the kernel for its ring, though data waits for it: for longer than it was
    /// ever away before and came back.
    pub fn owner_went_silent(&self) -> bool {
        let owner = &self.owner;
        // An owner that comes about as often as samples are taken misses one of them now and then.
        let interval = self.history.steps().back().map_or(Duration::ZERO, |step| step.change.span);
        owner.active.is_some()
            && owner.ever_active
            && owner.idle_for >= SILENT
            && owner.idle_for > interval
            && owner.idle_for > owner.longest_absence * 2
            && self.cq_shallow() == Some(true)
            && self.awaited_in_sockets() >= CONSIDERABLE
    }

    /// In which socket the most data waits, as evidence; `None` where that is not known.
    pub fn socket_that_waits(&self) -> Option<String> {
        let most = self.now.kernel.as_ref()?.top_sockets.as_ref()?.first()?;
        let unread = most.unread_bytes;
        Some(match most.buffered_bytes.filter(|&buffered| unread == 0 && buffered > 0) {
            Some(buffered) => {
                format!("the most out-of-order data waits at {most}: {buffered} bytes of memory")
            }
            None => format!("the most waits at {most}: {unread} bytes"),
        })
    }

    /// Which of several rings leaves most unread, as evidence; `None` for a queue of one ring, and where nothing is unread.
    pub fn ring_that_waits(&self) -> Option<String> {
        let rings = &self.now.kernel.as_ref()?.rings;
        let ring = busiest_ring(self.now).filter(|_| rings.len() > 1)?;
        let number = rings.iter().position(|other| other.id == ring.id)? + 1;
        let task = ring.consumer.as_ref();
        let name = task.map_or_else(String::new, |task| format!(" ({}[{}])", task.comm, task.tid));
        let completions = ring.cq.and_then(|cq| cq.depth()).filter(|&unread| unread > 0);
        let bytes = ring.sockets.map(|sockets| sockets.unread_bytes).filter(|&unread| unread > 0);
        let unread = [
            completions.map(|unread| format!("{unread} completions")),
            bytes.map(|unread| format!("{unread} bytes in sockets")),
        ];
        let unread: Vec<_> = unread.into_iter().flatten().collect();
        (!unread.is_empty()).then(|| {
            let (of, unread) = (rings.len(), unread.join(" and "));
            format!("of {of} rings that share the queue, ring {number}{name} leaves {unread} unread")
        })
    }
}

/// What a buffer has where the sample does not know it, bytes: a page.
const PAGE: u64 = 4096;

/// The ring whose consumer the queue waits for: of several, the one with the most unread completions.
fn busiest_ring(sample: &QueueSample) -> Option<&QueueRing> {
    let rings = &sample.kernel.as_ref()?.rings;
    let buffer = sample.buffer_bytes.unwrap_or(PAGE).max(1);
    rings.iter().max_by_key(|ring| {
        let unread = ring.sockets.map_or(0, |sockets| sockets.unread_bytes / buffer);
        u64::from(ring.cq.and_then(|cq| cq.depth()).unwrap_or(0)) + unread
    })
}

/// What keeps the consumer's thread from running, if it was so in each sample of the recent past.
fn halt<'h>(history: &'h History) -> Option<Halt> {
    let now = history.last()?;
    let ring = busiest_ring(now)?;
    let task = ring.consumer.as_ref()?;
    let since = now.at.saturating_sub(LASTING);
    let same = |sample: &'h QueueSample| {
        let rings = &sample.kernel.as_ref()?.rings;
        rings.iter().find(|other| other.id == ring.id)?.consumer.as_ref()
    };
    let stopped = |run: RunState| {
        matches!(
            run,
            RunState::Stopped
                | RunState::Traced
                | RunState::Frozen
                | RunState::Uninterruptible
                | RunState::Exited
        )
    };
    if let Some(run) = task.run.filter(|&run| stopped(run)) {
        let mut before = history.samples().rev().skip(1).take_while(|sample| sample.at >= since).peekable();
        let all = before.peek().is_none() && history.samples().len() < 2
            || history
                .samples()
                .rev()
                .skip(1)
                .take(1)
                .chain(before)
                .all(|sample| same(sample).is_some_and(|task| task.run.is_some_and(stopped)));
        // Work that waits for a disk does so in every program now and then.
        let moved =
            task.cpu_time.zip(history.samples().rev().nth(1).and_then(same).and_then(|task| task.cpu_time));
        let idle = moved.is_none_or(|(now, before)| now.saturating_sub(before) < NO_CPU_TIME);
        if all && (idle || run != RunState::Uninterruptible) {
            return Some(Halt::State(run));
        }
    }
    let earlier = history.samples().rev().find(|sample| now.at.saturating_sub(sample.at) >= LASTING)?;
    let span = now.at.saturating_sub(earlier.at).as_secs_f64();
    let earlier = same(earlier)?;
    let share = |now: Option<Duration>, before: Option<Duration>| {
        Some((now?.saturating_sub(before?)).as_secs_f64() / span)
    };
    if let Some(share) = share(task.throttled, earlier.throttled).filter(|&share| share >= WITHOUT_CPU) {
        return Some(Halt::Throttled(share.min(1.0)));
    }
    let share = share(task.run_delay, earlier.run_delay).filter(|&share| share >= WITHOUT_CPU)?;
    Some(Halt::NoCpu(share.min(1.0)))
}
