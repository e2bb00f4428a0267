//! When buffers run out, and which sizes would carry the load.

mod sizes;
mod starvation;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::facts::{Facts, Returned};
use super::history::History;
use super::placement::{out, user};
use crate::model::QueueSample;

pub use sizes::Sizes;
pub use starvation::Starvation;

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// Known.
    Known(T),
    /// Not known, for this reason.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The answer, if there is one.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}
/// What is to be expected of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// When it starves.
    pub starvation: Answer<Starvation>,
    /// Between which times it starves with a probability of 80 %; `None` where it does not, or has begun.
    #[serde(default)]
    pub starvation_range: Option<(Duration, Duration)>,
    /// Allocatable buffers as a share of the area.
    pub headroom: Option<f64>,
    /// Buffers that go out, a second.
    pub arrivals: Option<f64>,
    /// Buffers that come back, a second.
    pub returns: Option<f64>,
    /// How long user space has a buffer, on average (Little's law: held = rate x time).
    pub hold_time: Option<Duration>,
    /// Sizes that would do.
    pub sizes: Answer<Sizes>,
}

/// How far back rates are taken from.
const PAST: Duration = Duration::from_secs(10);

/// Looks ahead from a history; `None` if that is empty.
pub fn forecast(history: &History) -> Option<Forecast> {
    Facts::of(history).as_ref().and_then(ahead)
}

/// The same from facts that are known already.
pub(super) fn ahead(facts: &Facts<'_>) -> Option<Forecast> {
    let since = facts.now.at.saturating_sub(PAST);
    let steps = facts.history.steps();
    let from = steps.partition_point(|step| step.at < since);
    let past = || steps.range(from..);
    // Each sample has its step.
    let oldest = facts.history.samples().nth(from)?;
    let Returned { span, returned } = Returned::between(oldest, facts.now);
    let per_second = |count: f64| {
        let seconds = span.as_secs_f64();
        (seconds > 0.0).then_some(count / seconds)
    };
    let fragments = facts.placement.fragments.unwrap_or(1.0);
    let returns = returned.and_then(|returned| per_second(returned as f64 / fragments));
    let gone = past().next().and_then(|step| out(&step.placement));
    let growth = gone.zip(out(&facts.placement)).and_then(|(then, now)| per_second(now as f64 - then as f64));
    let arrivals = returns.zip(growth).map(|(returns, growth)| (returns + growth).max(0.0));
    let hold_time = returns.filter(|&returns| returns > 0.0).and_then(|returns| {
        let (sum, count) = past()
            .filter_map(|step| user(&step.placement))
            .fold((0.0, 0_u32), |(sum, count), user| (sum + user as f64, count + 1));
        let mean = (count > 0).then(|| sum / f64::from(count))?;
        Duration::try_from_secs_f64(mean / returns).ok()
    });
    // Buffers in the page pool's cache can be allocated; without the pool nothing that counts them can be stated.
    let knows_pool = is_pool_known(facts.now);
    let (starvation, starvation_range) = starvation::starvation(facts);
    Some(Forecast {
        starvation,
        starvation_range,
        headroom: facts.placement.share(facts.available()).filter(|_| knows_pool),
        arrivals,
        returns,
        hold_time,
        sizes: if knows_pool {
            sizes::sizes(facts, arrivals, returns)
        } else {
            Answer::Unknown("what the page pool holds is unknown".to_owned())
        },
    })
}

/// Whether it is known how many buffers a queue's page pool can give at once, where the queue has a device and the kernel was asked.
fn is_pool_known(sample: &QueueSample) -> bool {
    let on_device = sample.kernel.as_ref().filter(|kernel| kernel.ifindex.is_some());
    on_device.is_none_or(|kernel| kernel.pool.is_some_and(|pool| pool.cache.is_some()))
}
