//! Whether a situation has done harm, and for how long.

use std::time::Duration;

use super::SAMPLES;
use super::situations::Situation;
use crate::diagnose::queue_model::{Ledger, Queue};
use crate::diagnose::thresholds::{
    CALM, CALM_AFTER_EVENTS, LASTING, LASTING_WITHOUT_DROPS, PAUSE, PROMPT_BEFORE,
};
use crate::model::Cause;

/// When the data first allow a verdict: by the ledger, not by an alarm.
#[derive(Default)]
pub(super) struct Harm {
    losing: u32,
    /// Entries that the owner had returned at the first harm.
    returned: Option<u64>,
    last: (u64, u64),
    since: Option<Duration>,
    /// When harm was done last.
    last_at: Duration,
}

impl Harm {
    /// Whether harm has been done for as long as an alarm waits.
    pub(super) fn shown(&mut self, situation: &Situation, queue: &Queue, before: &Ledger) -> bool {
        let now = queue.ledger();
        let at = queue.now();
        let errors = now.errors - before.errors;
        let packets = now.packets_lost - before.packets_lost;
        let harmed = match situation.causes[0] {
            Cause::PinnedAfterTeardown | Cause::InterfaceDown | Cause::NoZeroCopy => true,
            // Its senders wait: nothing is lost.
            Cause::SinkBlocked => queue.paused(),
            Cause::MissteeredFlow | Cause::CopyFallback | Cause::CqExhaustion | Cause::NoDevice => {
                errors > self.last.0
            }
            // What is copied waits in sockets: no packet is lost, and receives fail.
            _ if !queue.device => errors > self.last.0,
            _ => packets > self.last.1,
        };
        self.last = (errors, packets);
        let packets_count = errors == 0;
        if harmed {
            if self.is_over(queue, situation) {
                (self.losing, self.since) = (0, None);
            }
            self.losing += 1;
            self.last_at = at;
            self.since.get_or_insert(at);
            self.returned.get_or_insert(now.returned);
        }
        // An owner that holds each buffer for long, or comes seldom, looks like one that lost all, or stopped, until it returns
        // something.
        let came_back = situation.causes[0] != Cause::SlowConsumer
            || self.returned.is_some_and(|before| now.returned > before);
        // Alarms wait for a second of loss, a pool for 2.5 s, and a share of copies for four samples.
        let wait = match situation.causes[0] {
            Cause::MissteeredFlow => Duration::ZERO,
            Cause::PinnedAfterTeardown | Cause::InterfaceDown => Duration::from_millis(2500),
            Cause::NoZeroCopy => queue.cadence * 5,
            Cause::SinkBlocked => LASTING * 2,
            // An owner that returned promptly for long and then returns nothing may pause: until the pause is too long for
            // that, nothing distinguishes it from one that lost everything.
            Cause::NeverReturned if situation.form == "all" && situation.calm >= PROMPT_BEFORE.as_secs() => {
                PAUSE
            }
            // Where nothing counts lost packets, failed allocations must prevail for longer.
            _ if packets_count && !queue.tells_drops => LASTING_WITHOUT_DROPS,
            _ => Duration::from_secs(1),
        };
        came_back
            && !self.is_over(queue, situation)
            && self.losing >= 2
            && self.since.is_some_and(|since| at.saturating_sub(since) >= wait)
    }

    /// Whether the last harm was done long ago.
    pub(super) fn is_over(&self, queue: &Queue, situation: &Situation) -> bool {
        let calm = match situation.causes[0] {
            Cause::MissteeredFlow | Cause::CopyFallback | Cause::CqExhaustion | Cause::NoDevice => {
                CALM_AFTER_EVENTS
            }
            // New losses are an alarm only when they have lasted for as long as an alarm waits.
            _ if queue.tells_drops => CALM.saturating_sub(LASTING),
            _ => CALM.saturating_sub(LASTING_WITHOUT_DROPS),
        };
        let calm = calm.max(queue.cadence * SAMPLES as u32);
        self.since.is_some() && queue.now().saturating_sub(self.last_at) > calm
    }
}
