//! Where a figure is going.

use std::time::Duration;

use crate::model::{QueueSample, Window};

/// How many parts a window is cut into to see a trend.
const PARTS: usize = 4;

/// The least value of a figure in each quarter of a window, oldest first. The least, because a consumer that works
/// comes back to a low level between bursts; what never comes back does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Least values.
    pub least: [u64; PARTS],
    /// Time they cover.
    pub span: Duration,
}

impl Floor {
    /// Of a figure that each sample of the window must know; `None` with fewer than two samples a part.
    pub fn of(window: &Window, read: impl Fn(&QueueSample) -> Option<u64>) -> Option<Self> {
        let values: Option<Vec<(Duration, u64)>> =
            window.samples().map(|sample| Some((sample.at, read(sample)?))).collect();
        let values = values.filter(|values| values.len() >= 2 * PARTS)?;
        let (first, last) = (values.first()?.0, values.last()?.0);
        let span = last.saturating_sub(first);
        let mut least = [u64::MAX; PARTS];
        for (index, (_, value)) in values.iter().enumerate() {
            let part = &mut least[index * PARTS / values.len()];
            *part = (*part).min(*value);
        }
        Some(Self { least, span })
    }

    /// Whether each part lies above the one before.
    pub fn rises(&self) -> bool {
        self.least.windows(2).all(|pair| pair[0] < pair[1])
    }

    /// How much the last part lies above the first.
    pub const fn growth(&self) -> u64 {
        self.least[PARTS - 1].saturating_sub(self.least[0])
    }

    /// The last part.
    pub const fn now(&self) -> u64 {
        self.least[PARTS - 1]
    }
}
