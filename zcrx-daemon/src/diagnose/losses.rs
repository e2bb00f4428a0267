//! Moments of loss: seconds apart, they are one problem.

use std::collections::VecDeque;
use std::time::Duration;

use super::change::some;
use super::step::Step;
use super::thresholds::REPEATED;

/// Moments in which packets were lost, within `REPEATED`: the window of samples may be shorter than that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Begin of the first step and end of the last one of each moment, oldest first.
    moments: VecDeque<(Duration, Duration)>,
}

impl Losses {
    pub(super) fn take(&mut self, step: &Step) {
        let begin = step.at.saturating_sub(step.change.span);
        if some(step.change.failures) && some(step.change.drops) {
            match self.moments.back_mut() {
                Some(moment) if begin <= moment.1 => moment.1 = step.at,
                _ => self.moments.push_back((begin, step.at)),
            }
        }
        while self.moments.front().is_some_and(|moment| step.at.saturating_sub(moment.1) >= REPEATED) {
            self.moments.pop_front();
        }
    }

    /// Number of moments.
    pub fn moments(&self) -> usize {
        self.moments.len()
    }

    /// Begin of the first and end of the last moment.
    pub fn span(&self) -> Option<(Duration, Duration)> {
        Some((self.moments.front()?.0, self.moments.back()?.1))
    }

    /// Longest time from the end of a moment to the end of the next.
    pub fn longest_gap(&self) -> Duration {
        let ends = self.moments.iter().zip(self.moments.iter().skip(1));
        ends.map(|(before, after)| after.1.saturating_sub(before.1)).max().unwrap_or_default()
    }
}
